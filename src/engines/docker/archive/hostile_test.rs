//! Hostile archives are refused by the entry that is; what is written is whole, whatever its names.

use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt};

use proptest::prelude::*;

use super::*;

const TO_ROOT: Purpose = Purpose::Files { owners: false };

/// Writes an entry byte for byte, which the library does not. What is longer than its field comes before it.
fn put(
    output: &mut Builder<impl Write>,
    header: &mut Header,
    name: &[u8],
    target: &[u8],
    content: &[u8],
) {
    for (kind, text) in [
        (EntryType::GNULongName, name),
        (EntryType::GNULongLink, target),
    ] {
        if text.len() > 100 {
            let mut long = Header::new_gnu();
            long.set_entry_type(kind);
            long.set_path(OsStr::from_bytes(b"././@LongLink")).unwrap();
            long.set_size(text.len() as u64 + 1);
            long.set_cksum();
            output.append(&long, text.chain(&b"\0"[..])).unwrap();
        }
    }
    let gnu = header.as_gnu_mut().unwrap();
    for (field, text) in [(&mut gnu.name, name), (&mut gnu.linkname, target)] {
        field
            .iter_mut()
            .zip(text)
            .for_each(|(place, byte)| *place = *byte);
    }
    header.set_cksum();
    output.append(header, content).unwrap();
}

/// One entry of an archive, as raw as a hostile sender writes it.
fn entry(kind: EntryType, name: &[u8], target: &[u8], content: &[u8]) -> Vec<u8> {
    let mut out = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o107_755);
    header.set_uid(12);
    header.set_gid(34);
    header.set_mtime(1_700_000_000);
    header.set_size(content.len() as u64);
    put(&mut out, &mut header, name, target, content);
    out.into_inner().unwrap()
}

fn file(name: &[u8]) -> Vec<u8> {
    entry(EntryType::Regular, name, b"", b"content")
}

/// What comes out: type, name, target, mode, content.
type Seen = Vec<(EntryType, Vec<u8>, Vec<u8>, u32, Vec<u8>)>;

fn read(tar: &[u8]) -> Seen {
    let mut archive = Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let target = entry.link_name_bytes().map(|target| target.into_owned());
        (
            entry.header().entry_type(),
            entry.path_bytes().into_owned(),
            target.unwrap_or_default(),
            entry.header().mode().unwrap(),
            content,
        )
    });
    entries.collect()
}

fn rewritten(tar: &[u8]) -> Result<(Seen, Summary), ArchiveError> {
    let mut out = Vec::new();
    let summary = rewrite(tar, &mut out, TO_ROOT)?;
    Ok((read(&out), summary))
}

/// Without the end of an archive, so that more can follow.
fn open(mut tar: Vec<u8>) -> Vec<u8> {
    tar.truncate(tar.len() - 1024);
    tar
}

#[test]
fn what_may_be_unpacked_comes_out_as_it_was() {
    let long = [b"d/".repeat(60), b"\xff\xfe".repeat(40)].concat();
    let mut tar = open(entry(EntryType::Directory, b"./", b"", b""));
    tar.extend(open(entry(EntryType::Directory, b"./d//", b"", b"")));
    tar.extend(open(file(b"./d/./a")));
    tar.extend(open(file(&long)));
    tar.extend(open(file(b"\xff\n")));
    tar.extend(open(entry(EntryType::Symlink, b"d/l", b"../d/a", b"")));
    tar.extend(open(entry(EntryType::Symlink, b"m", &long, b"")));
    tar.extend(entry(EntryType::Link, b"h", b"./d/a", b""));
    tar.extend([0; 9000]);
    let (seen, summary) = rewritten(&tar).unwrap();
    let content = b"content".to_vec();
    let of = |kind, name: &[u8], target: &[u8], content: &[u8]| {
        (
            kind,
            name.to_vec(),
            target.to_vec(),
            0o7755,
            content.to_vec(),
        )
    };
    let expected = [
        of(EntryType::Directory, b"d/", b"", b""),
        of(EntryType::Regular, b"d/a", b"", &content),
        of(EntryType::Regular, &long, b"", &content),
        of(EntryType::Regular, b"\xff\n", b"", &content),
        of(EntryType::Symlink, b"d/l", b"../d/a", b""),
        of(EntryType::Symlink, b"m", &long, b""),
        of(EntryType::Link, b"h", b"d/a", b""),
    ];
    assert_eq!(seen, expected);
    assert_eq!(
        summary,
        Summary {
            entries: 7,
            bytes: 21
        }
    );
}

#[test]
fn what_may_not_be_unpacked_is_refused_by_its_name() {
    let of = |kind| move |name: &[u8]| entry(kind, name, b"", b"");
    let link = |kind, target: &[u8]| entry(kind, b"d/l", target, b"");
    for (tar, expected, name) in [
        (file(b"../a"), Rule::Parent, "../a"),
        (file(b"a/../../b"), Rule::Parent, "a/../../b"),
        (file(b"/etc/passwd"), Rule::Absolute, "/etc/passwd"),
        (file(b"//a"), Rule::Absolute, "//a"),
        (file(b"."), Rule::Name, "."),
        (file(&[b'a'; 4097]), Rule::Name, "aaa"),
        (file(b"..\xff/.."), Rule::Parent, "..\\xff/.."),
        (of(EntryType::Char)(b"c"), Rule::Device, "c"),
        (of(EntryType::Block)(b"b"), Rule::Device, "b"),
        (of(EntryType::Fifo)(b"f"), Rule::Device, "f"),
        (of(EntryType::new(b'V'))(b"v"), Rule::Type, "v"),
        (link(EntryType::Symlink, b"/etc"), Rule::Link, "d/l"),
        (link(EntryType::Symlink, b"../../x"), Rule::Link, "d/l"),
        (link(EntryType::Symlink, b"x/../../../y"), Rule::Link, "d/l"),
        (link(EntryType::Symlink, b""), Rule::Link, "d/l"),
        (link(EntryType::Link, b"/etc/passwd"), Rule::Link, "d/l"),
        (link(EntryType::Link, b"../a"), Rule::Link, "d/l"),
        (link(EntryType::Link, b"."), Rule::Link, "d/l"),
    ] {
        match rewritten(&tar) {
            Err(ArchiveError::Entry { entry, rule }) => {
                assert_eq!(rule, expected, "{entry}");
                assert!(entry.starts_with(name), "{entry}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn what_is_compressed_cut_or_no_tar_is_refused() {
    for (start, name) in [
        (&b"\x1f\x8b\x08"[..], "gzip"),
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
    ] {
        let compressed = [start, &[7; 600]].concat();
        let refused = rewritten(&compressed);
        assert!(matches!(refused, Err(ArchiveError::Compressed(seen)) if seen == name));
    }
    let whole = file(b"a");
    for length in [1, 511, 513, 515] {
        let cut = rewritten(&whole[..length]);
        assert!(matches!(cut, Err(ArchiveError::Io(_))), "{length}");
    }
    assert!(matches!(
        rewritten(&[b'x'; 2048]),
        Err(ArchiveError::NotTar(_))
    ));
    let followed = [whole, vec![1; 512]].concat();
    assert!(matches!(rewritten(&followed), Err(ArchiveError::NotTar(_))));
    assert_eq!(rewritten(&[]).unwrap().1, Summary::default());
}

/// A name that never ends is not kept.
#[test]
fn a_name_without_end_costs_nothing() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_path("././@LongLink").unwrap();
    header.set_size(8 << 30);
    header.set_cksum();
    let input = header.as_bytes().chain(io::repeat(b'a').take(8 << 30));
    let refused = rewrite(input, io::sink(), TO_ROOT);
    assert!(matches!(refused, Err(ArchiveError::NotTar(why)) if why.contains("too long")));
}

proptest! {
    /// Whatever a sender writes: what comes out lies below.
    #[test]
    fn nothing_leaves_the_directory(
        name in prop::collection::vec(prop::sample::select(&b"./a\xff\0"[..]), 0..12),
        target in prop::collection::vec(prop::sample::select(&b"./a"[..]), 0..12),
        symbolic: bool,
    ) {
        let kind = if symbolic { EntryType::Symlink } else { EntryType::Regular };
        if let Ok((seen, _)) = rewritten(&entry(kind, &name, &target, b"")) {
            for (kind, name, target, ..) in seen {
                let mut depth = 0i32;
                let parent = name.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &name[..at]);
                let base = if kind == EntryType::Symlink { parent } else { &name[..] };
                prop_assert!(!name.starts_with(b"/") && !target.starts_with(b"/"));
                for part in base.split(|b| *b == b'/').chain(target.split(|b| *b == b'/')) {
                    match part {
                        b"" | b"." => {}
                        b".." => depth -= 1,
                        _ => depth += 1,
                    }
                    prop_assert!(depth >= 0);
                }
                prop_assert!(!name.split(|b| *b == b'/').any(|part| part == b".."));
            }
        }
    }

    /// Nothing from outside makes it panic.
    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = rewrite(&bytes[..], io::sink(), TO_ROOT);
    }
}
