//! Reads a tar archive from outside and writes another one with what may be unpacked in a container.
//!
//! Engines before 29.5.1 run code for a compressed archive (CVE-2026-41567), and what a link or a name with ".." does
//! depends on who unpacks it. So only what is written here, header by header, reaches the engine.
//!
//! Pure: bytes in, bytes out. Nothing grows with the archive; what belongs to one entry before its content is bounded.

use std::{
    cell::Cell,
    ffi::OsStr,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    rc::Rc,
};

use tar::{Archive, Builder, Entry, EntryType, Header};

use crate::excerpt::{VALUE, excerpt};

/// The longest name and the longest target of a link.
const MAX_NAME: usize = 4096;
/// Bytes before an entry's content, at most: its names, in up to three headers.
const MAX_HEADERS: u64 = 64 << 10;

/// Why an archive is not passed on.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is compressed.
    #[error("the archive is compressed ({0}): send it as plain tar")]
    Compressed(&'static str),
    /// An entry may not be unpacked.
    #[error("the archive's entry {entry} is refused: {}", rule.mend())]
    Entry {
        /// Its name, escaped.
        entry: String,
        /// Why.
        rule: Rule,
    },
    /// It is no tar archive, or not whole.
    #[error("this is no whole tar archive ({})", excerpt(.0, VALUE))]
    NotTar(String),
}

/// What an entry breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Its name is absolute.
    Absolute,
    /// Its name has "..".
    Parent,
    /// Its name is empty, too long, or has a NUL.
    Name,
    /// Its link leads out of where it is unpacked.
    Link,
    /// It is a device or a pipe.
    Device,
    /// It is something else that is no file, directory or link.
    Type,
}

impl Rule {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absolute => "absolute",
            Self::Parent => "parent",
            Self::Name => "name",
            Self::Link => "link",
            Self::Device => "device",
            Self::Type => "type",
        }
    }

    fn mend(self) -> &'static str {
        match self {
            Self::Absolute => {
                "its name is absolute; names are below the directory that it is unpacked in"
            }
            Self::Parent => "its name has \"..\"",
            Self::Name => "its name is empty, has a NUL, or is longer than 4096 bytes",
            Self::Link => "it links out of the directory that it is unpacked in",
            Self::Device => "it is a device or a pipe",
            Self::Type => "it is no file, directory or link",
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
}

/// Reads the archive and writes what may be unpacked, with its owners or with root as the owner. At the first entry that
/// may not be unpacked, it ends.
pub fn rewrite(
    input: impl Read,
    output: impl Write,
    owners: bool,
) -> Result<Summary, ArchiveError> {
    let mut input = io::BufReader::new(input);
    refuse_compressed(&mut input)?;
    let allowed = Rc::new(Cell::new(MAX_HEADERS));
    let input = Counted {
        input,
        allowed: Rc::clone(&allowed),
    };
    let mut archive = Archive::new(input);
    let mut output = Builder::new(output);
    let mut summary = Summary::default();
    let not_tar = |error: io::Error| ArchiveError::NotTar(error.to_string());
    for entry in archive.entries().map_err(not_tar)? {
        let entry = entry.map_err(not_tar)?;
        allowed.set(u64::MAX);
        if let Some(bytes) = one(entry, &mut output, owners)? {
            summary.entries += 1;
            summary.bytes += bytes;
        }
        allowed.set(MAX_HEADERS);
    }
    output
        .into_inner()
        .and_then(|mut output| output.flush())
        .map_err(not_tar)?;
    allowed.set(u64::MAX);
    rest_is_empty(archive.into_inner()).map_err(not_tar)?;
    Ok(summary)
}

fn refuse_compressed(input: &mut io::BufReader<impl Read>) -> Result<(), ArchiveError> {
    use io::BufRead;
    let start = input
        .fill_buf()
        .map_err(|error| ArchiveError::NotTar(error.to_string()))?;
    let known: [(&[u8], &str); 5] = [
        (b"\x1f\x8b", "gzip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x04\x22\x4d\x18", "lz4"),
    ];
    match known.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, name)) => Err(ArchiveError::Compressed(name)),
        None => Ok(()),
    }
}

/// Writes one entry; none when it is nothing to be unpacked. Returns the bytes of its content.
fn one<R: Read>(
    mut entry: Entry<'_, R>,
    output: &mut Builder<impl Write>,
    owners: bool,
) -> Result<Option<u64>, ArchiveError> {
    let kind = entry.header().entry_type();
    let raw = entry.path_bytes().into_owned();
    let refused = |rule| ArchiveError::Entry {
        entry: excerpt(&raw.escape_ascii().to_string(), VALUE),
        rule,
    };
    match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::Directory => {}
        EntryType::Symlink | EntryType::Link => {}
        // Says something about all others, which is not passed on.
        EntryType::XGlobalHeader => {
            drain(&mut entry)?;
            return Ok(None);
        }
        EntryType::Char | EntryType::Block | EntryType::Fifo => return Err(refused(Rule::Device)),
        _ => return Err(refused(Rule::Type)),
    }
    let name = below(&raw).map_err(refused)?;
    let broken = |error: io::Error| ArchiveError::NotTar(error.to_string());
    if name.is_empty() {
        // The directory that it is unpacked in is there.
        drain(&mut entry)?;
        let itself = kind == EntryType::Directory && !raw.is_empty();
        return if itself {
            Ok(None)
        } else {
            Err(refused(Rule::Name))
        };
    }
    let mut header = Header::new_gnu();
    header.set_mode(entry.header().mode().map_err(broken)? & 0o7777);
    header.set_uid(0);
    header.set_gid(0);
    if owners {
        header.set_uid(entry.header().uid().map_err(broken)?);
        header.set_gid(entry.header().gid().map_err(broken)?);
    }
    header.set_mtime(entry.header().mtime().unwrap_or(0));
    header.set_size(0);
    match kind {
        EntryType::Symlink | EntryType::Link => {
            let target = entry.link_name_bytes().map(|target| target.into_owned());
            let target = target.unwrap_or_default();
            let symbolic = kind == EntryType::Symlink;
            let target = if symbolic {
                stays(&name, &target).then_some(target)
            } else {
                below(&target).ok().filter(|target| !target.is_empty())
            };
            let target = target.ok_or_else(|| refused(Rule::Link))?;
            drain(&mut entry)?;
            header.set_entry_type(kind);
            put(output, &mut header, &name, &target, io::empty()).map_err(broken)?;
            Ok(Some(0))
        }
        EntryType::Directory => {
            drain(&mut entry)?;
            header.set_entry_type(EntryType::Directory);
            put(output, &mut header, &name, b"", io::empty()).map_err(broken)?;
            Ok(Some(0))
        }
        _ => {
            let size = entry.size();
            header.set_entry_type(EntryType::Regular);
            header.set_size(size);
            let content = Whole {
                input: entry,
                left: size,
            };
            put(output, &mut header, &name, b"", content).map_err(broken)?;
            Ok(Some(size))
        }
    }
}

fn drain(entry: &mut impl Read) -> Result<(), ArchiveError> {
    let drained = io::copy(entry, &mut io::sink());
    drained
        .map(drop)
        .map_err(|error| ArchiveError::NotTar(error.to_string()))
}

/// A name below the directory that is unpacked in, without "." and double slashes; empty for that directory itself.
fn below(name: &[u8]) -> Result<Vec<u8>, Rule> {
    if name.len() > MAX_NAME || name.contains(&0) {
        return Err(Rule::Name);
    }
    if name.first() == Some(&b'/') {
        return Err(Rule::Absolute);
    }
    let mut clean = Vec::with_capacity(name.len());
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(Rule::Parent),
            part => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(part);
            }
        }
    }
    Ok(clean)
}

/// Whether a link of this name leads to somewhere below the directory that is unpacked in.
fn stays(name: &[u8], target: &[u8]) -> bool {
    if target.is_empty() || target.len() > MAX_NAME || target.contains(&0) {
        return false;
    }
    if target.first() == Some(&b'/') {
        return false;
    }
    // Its own name is no step.
    let mut depth = name.split(|byte| *byte == b'/').count() - 1;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            _ => depth += 1,
        }
    }
    true
}

/// Writes an entry. What is longer than its field comes before it, in GNU's way, byte for byte.
fn put(
    output: &mut Builder<impl Write>,
    header: &mut Header,
    name: &[u8],
    target: &[u8],
    content: impl Read,
) -> io::Result<()> {
    for (kind, text) in [
        (EntryType::GNULongName, name),
        (EntryType::GNULongLink, target),
    ] {
        if text.len() > 100 {
            let mut long = Header::new_gnu();
            long.set_entry_type(kind);
            long.set_path(OsStr::from_bytes(b"././@LongLink"))?;
            long.set_mode(0o644);
            long.set_uid(0);
            long.set_gid(0);
            long.set_mtime(0);
            long.set_size(text.len() as u64 + 1);
            long.set_cksum();
            output.append(&long, text.chain(&b"\0"[..]))?;
        }
    }
    if let Some(gnu) = header.as_gnu_mut() {
        for (field, text) in [(&mut gnu.name, name), (&mut gnu.linkname, target)] {
            field
                .iter_mut()
                .zip(text)
                .for_each(|(place, byte)| *place = *byte);
        }
    }
    header.set_cksum();
    output.append(header, content)
}

/// After the end there are zeros only.
fn rest_is_empty(mut input: impl Read) -> io::Result<()> {
    let mut piece = [0; 4096];
    loop {
        let read = match input.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if piece.iter().take(read).any(|byte| *byte != 0) {
            return Err(io::Error::other("something follows its end"));
        }
    }
}

/// Reads so many bytes only as are allowed now.
struct Counted<R> {
    input: R,
    allowed: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        let left = self.allowed.get().checked_sub(read as u64);
        let left = left.ok_or_else(|| io::Error::other("the names of an entry are too long"))?;
        self.allowed.set(left);
        Ok(read)
    }
}

/// A content of a known length, which may not end before.
struct Whole<R> {
    input: R,
    left: u64,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other("it ends in the middle of a file"));
        }
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
#[path = "archive_test.rs"]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
