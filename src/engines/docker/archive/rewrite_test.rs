//! What passes, and what is refused with the entry told.

use std::io::Cursor;

use super::*;

/// A tar with these entries, whatever they are.
fn tar(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, content) in entries {
        let mut header = Header::new_gnu();
        let raw = header.as_gnu_mut().unwrap();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        let link = matches!(kind, EntryType::Symlink | EntryType::Link);
        if link {
            raw.linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        if *kind == EntryType::GNUSparse {
            raw.realsize.copy_from_slice(b"00000000000\0");
        }
        let content = if link { "" } else { content };
        header.set_entry_type(*kind);
        header.set_mode(0o4755);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(9);
        header.set_size(content.len() as u64);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

fn pass(bytes: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    let mut output = Vec::new();
    rewrite(Cursor::new(bytes), &mut output, Purpose::Image).map(|_| output)
}

fn seen(bytes: &[u8]) -> Vec<(String, EntryType, String)> {
    let mut archive = Archive::new(bytes);
    let entries = archive.entries().unwrap();
    let mut seen = Vec::new();
    for entry in entries {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let kind = entry.header().entry_type();
        let mut content = match entry.link_name().unwrap() {
            Some(target) => target.display().to_string(),
            None => String::new(),
        };
        entry.read_to_string(&mut content).unwrap();
        seen.push((name, kind, content));
    }
    seen
}

#[test]
fn what_is_harmless_passes_as_it_was() {
    use EntryType as E;
    let bytes = tar(&[
        ("./", E::Directory, ""),
        ("./a/", E::Directory, ""),
        ("a//b", E::Regular, "content"),
        ("a/up", E::Symlink, "../c"),
        ("same", E::Link, "./a/b"),
        ("c", E::Symlink, "a/b"),
        // A file takes the link's place, and a directory that one's.
        ("c", E::Regular, "x"),
        ("c", E::Directory, ""),
        ("c/d", E::Regular, ""),
    ]);
    let output = pass(&bytes).unwrap();
    let text = |(name, kind, content): (&str, E, &str)| (name.to_owned(), kind, content.to_owned());
    let expected = [
        ("./", E::Directory, ""),
        ("a/", E::Directory, ""),
        ("a/b", E::Regular, "content"),
        ("a/up", E::Symlink, "../c"),
        ("same", E::Link, "a/b"),
        ("c", E::Symlink, "a/b"),
        ("c", E::Regular, "x"),
        ("c/", E::Directory, ""),
        ("c/d", E::Regular, ""),
    ];
    assert_eq!(seen(&output), expected.map(text));
    let mut archive = Archive::new(output.as_slice());
    let entry = archive.entries().unwrap().nth(2).unwrap().unwrap();
    let header = entry.header();
    assert_eq!(header.mode().unwrap(), 0o4755);
    let numbers = (
        header.uid().unwrap(),
        header.gid().unwrap(),
        header.mtime().unwrap(),
    );
    assert_eq!(numbers, (7, 8, 9));
    // Long names, in both forms, and what is not UTF-8.
    let long = "n".repeat(200);
    let path = format!("{long}/{long}");
    let mut built = Builder::new(Vec::new());
    let extensions = [
        ("path", path.as_bytes()),
        ("mtime", b"1.5"),
        ("comment", b"x"),
    ];
    built.append_pax_extensions(extensions).unwrap();
    let mut header = Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o600);
    header.set_path("short").unwrap();
    header.set_cksum();
    built.append(&header, &b"1"[..]).unwrap();
    built.append_data(&mut header, &path, &b"2"[..]).unwrap();
    let odd = path_of(b"\xff\xfe");
    built.append_data(&mut header, odd, &b"3"[..]).unwrap();
    let output = pass(&built.into_inner().unwrap()).unwrap();
    let mut archive = Archive::new(output.as_slice());
    let names: Vec<Vec<u8>> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path_bytes().into_owned())
        .collect();
    assert_eq!(names, [path.as_bytes(), path.as_bytes(), b"\xff\xfe"]);
}

#[test]
fn what_could_leave_is_refused_by_name() {
    use EntryType as E;
    let climbing: &[(&str, E, &str)] = &[
        ("../x", E::Regular, ""),
        ("a/../../x", E::Regular, ""),
        ("a/..", E::Directory, ""),
        ("/etc/passwd", E::Regular, ""),
        ("out", E::Symlink, "/etc"),
        ("out", E::Symlink, "../x"),
        ("a/out", E::Symlink, "../../x"),
        ("out", E::Symlink, "a/../x"),
        ("out", E::Symlink, ""),
        ("out", E::Link, "../x"),
        ("out", E::Link, "/etc/passwd"),
        ("dev", E::Char, ""),
        ("dev", E::Block, ""),
        ("pipe", E::Fifo, ""),
        ("holes", E::GNUSparse, ""),
        ("odd", E::new(b'Z'), ""),
        ("", E::Regular, ""),
        (".", E::Regular, ""),
    ];
    for entry in climbing {
        let error = pass(&tar(&[("good", E::Regular, "x"), *entry])).unwrap_err();
        let ArchiveError::Entry { entry: told, .. } = error else {
            panic!("{entry:?}: {error:?}");
        };
        assert_eq!(told, entry.0, "{entry:?}");
    }
    // Each alone is harmless.
    for chain in [
        [("a", E::Symlink, "b"), ("a/x", E::Regular, "")],
        [("a", E::Symlink, "b"), ("a/c/x", E::Symlink, "../../y")],
        [("a", E::Symlink, "b"), ("h", E::Link, "a/x")],
    ] {
        let error = pass(&tar(&chain)).unwrap_err();
        let behind = matches!(
            error,
            ArchiveError::Entry {
                rule: Rule::Behind,
                ..
            }
        );
        assert!(behind, "{error:?}");
    }
}

#[test]
fn what_is_no_plain_whole_tar_is_refused() {
    let rule = |bytes: &[u8]| pass(bytes).unwrap_err().to_string();
    let mut gzip = vec![0x1f, 0x8b, 8, 0];
    gzip.resize(2000, 7);
    assert!(rule(&gzip).contains("compressed"));
    assert!(rule(b"PK\x03\x04").contains("compressed"));
    assert!(rule(b"").contains("no entries"));
    assert!(rule(&[0; 1024]).contains("no entries"));
    assert!(rule(&[9; 4096]).contains("not a tar"));
    let whole = tar(&[("a", EntryType::Regular, &"x".repeat(2000))]);
    for length in [100, 600, 1500, 2400] {
        pass(&whole[..length]).unwrap_err();
    }
    // One that claims more than it has, and more than there is memory.
    for kind in [
        EntryType::Regular,
        EntryType::GNULongName,
        EntryType::XHeader,
    ] {
        let mut header = Header::new_gnu();
        header.set_path("a").unwrap();
        header.set_entry_type(kind);
        header.set_size(1 << 50);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(4096, b'x');
        pass(&bytes).unwrap_err();
    }
    // A size that two readers would take differently.
    let mut built = Builder::new(Vec::new());
    built
        .append_pax_extensions([("size", &b"512"[..])])
        .unwrap();
    let mut bytes = built.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(tar(&[("a", EntryType::Regular, "x")]));
    assert!(rule(&bytes).contains("--format=gnu"));
}

/// As writers say of files of 8 GiB and more, which copies out of containers may have.
#[test]
fn a_size_that_an_extension_alone_says_counts() {
    let content = "x".repeat(2000);
    let mut built = Builder::new(Vec::new());
    built
        .append_pax_extensions([("size", &b"2000"[..]), ("uid", b"3000000")])
        .unwrap();
    let mut header = Header::new_ustar();
    header.set_path("a").unwrap();
    header.set_size(0);
    header.set_cksum();
    built.append(&header, io::empty()).unwrap();
    let mut bytes = built.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend_from_slice(content.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend(tar(&[("b", EntryType::Regular, "y")]));
    let output = pass(&bytes).unwrap();
    let expected = [("a", content.as_str()), ("b", "y")]
        .map(|(name, content)| (name.to_owned(), EntryType::Regular, content.to_owned()));
    assert_eq!(seen(&output), expected);
    let mut archive = Archive::new(output.as_slice());
    let first = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(first.header().uid().unwrap(), 3_000_000);
    // One of 9 GiB, of which little comes, is told as cut off.
    let mut built = Builder::new(Vec::new());
    built
        .append_pax_extensions([("size", &b"9663676416"[..])])
        .unwrap();
    built.append(&header, io::empty()).unwrap();
    let cut = pass(&built.into_inner().unwrap());
    assert!(matches!(cut, Err(ArchiveError::Io(_))), "{cut:?}");
}

#[test]
fn whatever_comes_it_ends_without_a_panic() {
    let good = tar(&[
        ("a/b", EntryType::Regular, "content"),
        ("l", EntryType::Symlink, "a/b"),
        ("././@LongLink", EntryType::GNULongName, "long"),
        ("x", EntryType::Regular, "more"),
    ]);
    let mut state: u32 = 1;
    for _ in 0..3000 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (state >> 8) as usize % bytes.len();
            bytes[at] = state as u8;
            // Most changes would be seen by the checksum alone.
            let block = at / 512 * 512;
            let mut header = Header::from_byte_slice(&bytes[block..block + 512]).clone();
            header.set_cksum();
            bytes[block..block + 512].copy_from_slice(header.as_bytes());
        }
        if let Ok(output) = pass(&bytes) {
            // It is a tar that passes itself.
            pass(&output).unwrap();
        }
    }
}
