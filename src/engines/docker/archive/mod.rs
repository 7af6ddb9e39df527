//! Archives from outside, written anew before an engine sees them.
//!
//! Engines have run code from archives that were compressed, and have followed names and links out of the place that an
//! archive was for. So nothing is passed on as it came: each entry is read, looked at, and written into a plain tar of
//! the agent's own. Bounded memory, whatever the archive's size or its entries claim.

mod names;
mod rule;

use std::{
    borrow::Cow,
    cell::Cell,
    ffi::OsStr,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
    rc::Rc,
};

use tar::{Archive, Builder, Entry, EntryType, Header};

use names::{Links, name, stays_inside};
pub use rule::{ArchiveError, Rule};

/// What may be said about one entry before its content comes, in bytes.
const MOST_BEFORE: u64 = 1 << 20;

/// What an archive is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be unpacked in a directory that is there and stays as it is.
    Files {
        /// With the archive's owners, instead of root.
        owners: bool,
    },
    /// To be built or loaded, with everything that it says; and something it must say.
    Image,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
}

/// Reads a tar and writes what may pass as another one. At the first entry that may not, it ends.
pub fn rewrite(
    input: impl Read,
    output: impl Write,
    purpose: Purpose,
) -> Result<Summary, ArchiveError> {
    let mut input = Tracked {
        input,
        first: Vec::new(),
        failed: None,
    };
    let mut written = Builder::new(output);
    written.sparse(false);
    let passed = pass(&mut input, &mut written, purpose);
    let passed = passed.and_then(|summary| {
        rest_is_empty(&mut input)?;
        Ok(summary)
    });
    let summary = match passed {
        Ok(summary) => summary,
        Err(error) => {
            // The reader's own error comes before what the archive looks like without the rest.
            return Err(match input.failed.take() {
                Some(failed) => ArchiveError::Io(failed),
                None => input.compressed().unwrap_or(error),
            });
        }
    };
    if summary.entries == 0 && purpose == Purpose::Image {
        return Err(ArchiveError::Empty);
    }
    written.into_inner()?.flush()?;
    Ok(summary)
}

/// After the end there are zeros only.
fn rest_is_empty(mut input: impl Read) -> Result<(), ArchiveError> {
    let mut piece = [0; 4096];
    loop {
        let read = match input.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        if piece.iter().take(read).any(|byte| *byte != 0) {
            let what = "something follows its end";
            return Err(ArchiveError::NotTar(what.to_owned()));
        }
    }
}

fn pass<W: Write>(
    input: &mut impl Read,
    written: &mut Builder<W>,
    purpose: Purpose,
) -> Result<Summary, ArchiveError> {
    let allowed = Rc::new(Cell::new(MOST_BEFORE));
    let mut archive = Archive::new(Counted {
        input,
        allowed: Rc::clone(&allowed),
    });
    let mut links = Links::default();
    let mut summary = Summary::default();
    for entry in archive.entries().map_err(not_tar)? {
        let mut entry = entry.map_err(not_tar)?;
        // Of its content nothing is kept.
        allowed.set(u64::MAX);
        if let Some(bytes) = pass_one(&mut entry, &mut links, written, purpose)? {
            summary.entries += 1;
            summary.bytes += bytes;
        }
        // What follows the content of other kinds than files says nothing.
        io::copy(&mut entry, &mut io::sink())?;
        allowed.set(MOST_BEFORE);
    }
    Ok(summary)
}

fn cut_short() -> io::Error {
    let what = "it ends in the middle of an entry";
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

/// Writes one entry, and returns the bytes of its content; none when it is left out.
fn pass_one<R: Read, W: Write>(
    entry: &mut Entry<'_, R>,
    links: &mut Links,
    written: &mut Builder<W>,
    purpose: Purpose,
) -> Result<Option<u64>, ArchiveError> {
    let kind = entry.header().entry_type();
    // About the archive as a whole: comments and the like.
    if kind == EntryType::XGlobalHeader {
        return Ok(None);
    }
    let said = Said::of(entry)?;
    let given = match said.name {
        Some(name) => name,
        None => entry.path_bytes().into_owned(),
    };
    let refused = |rule| ArchiveError::entry(&given, rule);
    if said.holes || kind == EntryType::GNUSparse {
        return Err(refused(Rule::Sparse));
    }
    let parts = name(&given).map_err(refused)?;
    if links.leads_through(&parts) {
        return Err(refused(Rule::Behind));
    }
    let size = entry.size();
    let field = entry.header().entry_size().map_err(not_tar)?;
    // A size that does not fit into its field is 0 there.
    if said.size.is_some_and(|said| said != size) || ![0, size].contains(&field) {
        return Err(refused(Rule::Size));
    }
    let mut header = header(entry.header(), kind, purpose);
    let mut path = parts.join(&b'/');
    let target = || match said.target {
        Some(target) => target,
        None => entry
            .link_name_bytes()
            .map(Cow::into_owned)
            .unwrap_or_default(),
    };
    match kind {
        EntryType::Regular | EntryType::Continuous if !parts.is_empty() => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(size);
            links.forget(&path);
            let whole = Whole { left: size, entry };
            written.append_data(&mut header, path_of(&path), whole)?;
            return Ok(Some(size));
        }
        // The place itself.
        EntryType::Directory if parts.is_empty() && purpose != Purpose::Image => return Ok(None),
        EntryType::Directory => {
            if parts.is_empty() {
                path.push(b'.');
            }
            links.forget(&path);
            path.push(b'/');
            written.append_data(&mut header, path_of(&path), io::empty())?;
        }
        EntryType::Symlink if !parts.is_empty() => {
            let target = target();
            stays_inside(&target, parts.len()).map_err(refused)?;
            links.remember(&path).map_err(refused)?;
            written.append_link(&mut header, path_of(&path), path_of(&target))?;
        }
        EntryType::Link if !parts.is_empty() => {
            let target = target();
            // Whatever is wrong with its target, it is the link that is refused.
            let target = name(&target).ok().filter(|target| !target.is_empty());
            let target = target.ok_or_else(|| refused(Rule::Link))?;
            if links.leads_through(&target) {
                return Err(refused(Rule::Behind));
            }
            links.forget(&path);
            let target = target.join(&b'/');
            written.append_link(&mut header, path_of(&path), path_of(&target))?;
        }
        EntryType::Regular | EntryType::Continuous | EntryType::Symlink | EntryType::Link => {
            return Err(refused(Rule::Name));
        }
        EntryType::Char | EntryType::Block | EntryType::Fifo => return Err(refused(Rule::Device)),
        _ => return Err(refused(Rule::Type)),
    }
    Ok(Some(0))
}

fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// The header of what is written.
fn header(old: &Header, kind: EntryType, purpose: Purpose) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    // Writers leave out what they do not know.
    header.set_mode(old.mode().unwrap_or_default() & 0o7777);
    header.set_uid(0);
    header.set_gid(0);
    if purpose != (Purpose::Files { owners: false }) {
        header.set_uid(old.uid().unwrap_or_default());
        header.set_gid(old.gid().unwrap_or_default());
    }
    header.set_mtime(old.mtime().unwrap_or_default());
    header.set_size(0);
    header
}

/// What extensions say of an entry, the last one counting.
#[derive(Default)]
struct Said {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    holes: bool,
}

impl Said {
    fn of<R: Read>(entry: &mut Entry<'_, R>) -> Result<Self, ArchiveError> {
        let mut said = Self::default();
        let extensions = entry.pax_extensions().map_err(not_tar)?;
        for extension in extensions.into_iter().flatten() {
            let extension = extension.map_err(not_tar)?;
            let value = extension.value_bytes();
            match extension.key_bytes() {
                b"path" => said.name = Some(value.to_vec()),
                b"linkpath" => said.target = Some(value.to_vec()),
                b"size" => {
                    let number = std::str::from_utf8(value).ok();
                    let number = number.and_then(|text| text.parse().ok());
                    said.size = Some(number.unwrap_or(u64::MAX));
                }
                key if key.starts_with(b"GNU.sparse.") => said.holes = true,
                _ => {}
            }
        }
        Ok(said)
    }
}

fn not_tar(error: io::Error) -> ArchiveError {
    let text = error.to_string();
    if text.contains("failed to read entire block") || text.contains("unexpected EOF") {
        return cut_short().into();
    }
    ArchiveError::NotTar(text)
}

/// An entry's content, which must not end before its size.
struct Whole<R> {
    left: u64,
    entry: R,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.entry.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(cut_short());
        }
        Ok(read)
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
        let what = "what it says about an entry is too long";
        self.allowed
            .set(left.ok_or_else(|| io::Error::other(what))?);
        Ok(read)
    }
}

/// Keeps the first bytes and the reader's own error.
struct Tracked<R> {
    input: R,
    first: Vec<u8>,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Tracked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buffer) {
            Ok(read) => {
                if self.first.len() < 8 {
                    let more = buffer.get(..read.min(8)).unwrap_or_default();
                    self.first.extend_from_slice(more);
                }
                Ok(read)
            }
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}

impl<R> Tracked<R> {
    fn compressed(&self) -> Option<ArchiveError> {
        const FORMS: [(&[u8], &str); 9] = [
            (b"\x1f\x8b", "gzip"),
            (b"BZh", "bzip2"),
            (b"\xfd7zXZ\0", "xz"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"\x04\x22\x4d\x18", "lz4"),
            (b"\x1f\x9d", "compress"),
            (b"PK\x03\x04", "zip"),
            (b"LZIP", "lzip"),
            (b"\x5d\0\0", "lzma"),
        ];
        let mut forms = FORMS.iter();
        let known = forms.find(|(form, _)| self.first.starts_with(form));
        known.map(|(_, name)| ArchiveError::Compressed(name))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod hostile_test;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod rewrite_test;
