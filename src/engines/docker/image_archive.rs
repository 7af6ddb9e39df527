//! Archives from outside, written anew before an engine sees them.
//!
//! Engines have run code from archives that were compressed, and have followed names and links out of the place that an
//! archive was for. So nothing is passed on as it came: each entry is read, looked at, and written into a plain tar of
//! the agent's own. Bounded memory, whatever the archive's size or its entries claim.

use std::{
    borrow::Cow,
    ffi::OsStr,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use tar::{Archive, Builder, Entry, EntryType, Header, PaxExtensions};

use super::image_archive_names::{Links, name, stays_inside};
use crate::excerpt::{VALUE, cut};

/// What may be said about one entry before it comes.
const LONGEST_EXTENSION: u64 = 1 << 20;

/// Why an archive was not passed on.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It breaks a rule.
    #[error("the archive is refused at {entry:?}: {rule}")]
    Refused {
        /// The entry's name, escaped; empty when it is the archive as a whole.
        entry: String,
        /// What is wrong, and the mend.
        rule: &'static str,
    },
    /// It could not be read, or not be written on.
    #[error("the archive did not come whole, so nothing came of it: send it again ({0})")]
    Io(#[from] io::Error),
}

pub(super) fn refused(entry: &[u8], rule: &'static str) -> ArchiveError {
    let entry = entry.escape_ascii().to_string();
    ArchiveError::Refused {
        entry: cut(&entry, VALUE).into_owned(),
        rule,
    }
}

/// Reads a tar and writes what may pass as another one. Returns how many entries there were. What follows the archive's
/// end is read and left out.
pub fn rewrite(input: impl Read, output: impl Write) -> Result<u64, ArchiveError> {
    let mut input = Tracked {
        input,
        first: Vec::new(),
        failed: None,
    };
    let mut written = Builder::new(output);
    written.sparse(false);
    let mut archive = Archive::new(&mut input);
    let passed = pass(&mut archive, &mut written);
    let entries = match passed {
        Ok(entries) => entries,
        Err(error) => {
            // The reader's own error comes before what the archive looks like without the rest.
            return Err(match input.failed.take() {
                Some(failed) => ArchiveError::Io(failed),
                None => input.compressed().unwrap_or(error),
            });
        }
    };
    if entries == 0 {
        let rule = "it has no entries: send a tar";
        return Err(input.compressed().unwrap_or(refused(b"", rule)));
    }
    io::copy(&mut input, &mut io::sink())?;
    written.into_inner()?.flush()?;
    Ok(entries)
}

/// What is said about an entry before it comes.
#[derive(Default)]
struct Before {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    owner: (Option<u64>, Option<u64>),
    seen: bool,
}

fn pass<R: Read, W: Write>(
    archive: &mut Archive<R>,
    written: &mut Builder<W>,
) -> Result<u64, ArchiveError> {
    let mut links = Links::default();
    let mut before = Before::default();
    let mut count = 0;
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry.map_err(not_tar)?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => before.name = Some(long_name(&mut entry)?),
            EntryType::GNULongLink => before.target = Some(long_name(&mut entry)?),
            EntryType::XHeader => before.extend(&extension(&mut entry)?)?,
            // About the archive as a whole: comments and the like.
            EntryType::XGlobalHeader => drop(extension(&mut entry)?),
            _ => {
                let before = std::mem::take(&mut before);
                pass_one(entry, before, &mut links, written)?;
                count += 1;
            }
        }
        if before.name.is_some() || before.target.is_some() {
            before.seen = true;
        }
    }
    if before.seen {
        return Err(cut_short().into());
    }
    Ok(count)
}

fn cut_short() -> io::Error {
    let what = "it ends in the middle of an entry";
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

fn pass_one<R: Read, W: Write>(
    entry: Entry<'_, R>,
    before: Before,
    links: &mut Links,
    written: &mut Builder<W>,
) -> Result<(), ArchiveError> {
    let kind = entry.header().entry_type();
    let given = match &before.name {
        Some(name) => Cow::Borrowed(name.as_slice()),
        None => Cow::Owned(entry.header().path_bytes().into_owned()),
    };
    let parts = name(&given, &given)?;
    if links.leads_through(&parts) {
        let rule = "it lies behind a link: leave the link out, or the entry";
        return Err(refused(&given, rule));
    }
    let size = entry.size();
    if before.size.is_some_and(|said| said != size) {
        let rule =
            "its size stands in an extension alone: write the tar in GNU format (tar --format=gnu)";
        return Err(refused(&given, rule));
    }
    let mut header = Header::new_gnu();
    let old = entry.header();
    header.set_entry_type(kind);
    // Writers leave out what they do not know.
    header.set_mode(old.mode().unwrap_or_default() & 0o7777);
    header.set_uid(before.owner.0.or(old.uid().ok()).unwrap_or_default());
    header.set_gid(before.owner.1.or(old.gid().ok()).unwrap_or_default());
    header.set_mtime(old.mtime().unwrap_or_default());
    header.set_size(0);
    let mut path = parts.join(&b'/');
    let target = || match &before.target {
        Some(target) => Cow::Borrowed(target.as_slice()),
        None => Cow::Owned(old.link_name_bytes().unwrap_or_default().into_owned()),
    };
    match kind {
        EntryType::Regular | EntryType::Continuous if parts.is_empty() => {
            return Err(refused(&given, "a file has a name"));
        }
        EntryType::Regular | EntryType::Continuous => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(size);
            links.forget(&path);
            let whole = Whole { left: size, entry };
            written.append_data(&mut header, path_of(&path), whole)?;
        }
        EntryType::Directory => {
            // The place itself.
            if parts.is_empty() {
                path.push(b'.');
            }
            links.forget(&path);
            path.push(b'/');
            written.append_data(&mut header, path_of(&path), io::empty())?;
        }
        EntryType::Symlink => {
            let target = target();
            stays_inside(&target, parts.len(), &given)?;
            links.remember(&path, &given)?;
            written.append_link(&mut header, path_of(&path), path_of(&target))?;
        }
        EntryType::Link => {
            let target = target();
            let target = name(&target, &given)?;
            if links.leads_through(&target) {
                return Err(refused(&given, "it is a link to what lies behind a link"));
            }
            links.forget(&path);
            let target = target.join(&b'/');
            written.append_link(&mut header, path_of(&path), path_of(&target))?;
        }
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            return Err(refused(
                &given,
                "devices and pipes are not taken: leave it out",
            ));
        }
        EntryType::GNUSparse => {
            let rule = "files with holes are not taken: write the tar without --sparse";
            return Err(refused(&given, rule));
        }
        _ => {
            return Err(refused(
                &given,
                "this kind of entry is not taken: leave it out",
            ));
        }
    }
    Ok(())
}

fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn long_name<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, ArchiveError> {
    let mut name = extension(entry)?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn extension<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, ArchiveError> {
    let size = entry.size();
    if size > LONGEST_EXTENSION {
        return Err(refused(b"", "what it says about an entry is too long"));
    }
    let mut content = Vec::new();
    entry.read_to_end(&mut content)?;
    if content.len() as u64 != size {
        return Err(cut_short().into());
    }
    Ok(content)
}

impl Before {
    fn extend(&mut self, content: &[u8]) -> Result<(), ArchiveError> {
        self.seen = true;
        for extension in PaxExtensions::new(content) {
            let extension = extension.map_err(not_tar)?;
            let value = extension.value_bytes();
            let number = || {
                let text = std::str::from_utf8(value).ok()?;
                text.parse::<u64>().ok()
            };
            match extension.key_bytes() {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => self.size = Some(number().unwrap_or(u64::MAX)),
                b"uid" => self.owner.0 = number(),
                b"gid" => self.owner.1 = number(),
                key if key.starts_with(b"GNU.sparse.") => {
                    let name = self.name.clone().unwrap_or_default();
                    let rule = "files with holes are not taken: write the tar without --sparse";
                    return Err(refused(&name, rule));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn not_tar(error: io::Error) -> ArchiveError {
    let text = error.to_string();
    if text.contains("failed to read entire block") || text.contains("unexpected EOF") {
        return cut_short().into();
    }
    refused(
        b"",
        "it is not a tar from there on: send a plain, whole one",
    )
}

/// An entry's content, which must not end before its size.
struct Whole<'a, R: Read> {
    left: u64,
    entry: Entry<'a, R>,
}

impl<R: Read> Read for Whole<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.entry.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(cut_short());
        }
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
        const FORMS: [&[u8]; 8] = [
            b"\x1f\x8b",
            b"BZh",
            b"\xfd7zXZ\0",
            b"\x28\xb5\x2f\xfd",
            b"\x04\x22\x4d\x18",
            b"\x1f\x9d",
            b"PK\x03\x04",
            b"LZIP",
        ];
        let known = FORMS.iter().any(|form| self.first.starts_with(form));
        known.then(|| refused(b"", "it is compressed: send it as a plain tar"))
    }
}

#[cfg(test)]
#[path = "image_archive_test.rs"]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
