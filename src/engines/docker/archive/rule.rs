//! What is wrong with an archive, and what mends it.

use std::io;

use crate::excerpt::{VALUE, excerpt};

/// Why an archive is not passed on.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is compressed.
    #[error("the archive is compressed ({0}): send it as a plain tar")]
    Compressed(&'static str),
    /// An entry may not pass.
    #[error("the archive's entry {entry} is refused: {}", rule.mend())]
    Entry {
        /// Its name, escaped.
        entry: String,
        /// What it breaks.
        rule: Rule,
    },
    /// It has nothing in it.
    #[error("the archive has no entries: send a tar")]
    Empty,
    /// It is something else, from somewhere on.
    #[error("the archive is not a tar, or not a whole one ({}): send a plain, whole one", excerpt(.0, VALUE))]
    NotTar(String),
    /// It could not be read, or not be written on.
    #[error("the archive did not come whole: send it again ({0})")]
    Io(#[from] io::Error),
}

impl ArchiveError {
    pub(super) fn entry(name: &[u8], rule: Rule) -> Self {
        Self::Entry {
            entry: excerpt(&name.escape_ascii().to_string(), VALUE),
            rule,
        }
    }

    /// In a word.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Compressed(_) => "compressed",
            Self::Entry { rule, .. } => rule.as_str(),
            Self::Empty => "empty",
            Self::NotTar(_) | Self::Io(_) => "tar",
        }
    }
}

/// What an entry breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A name is absolute.
    Absolute,
    /// A name has "..".
    Parent,
    /// A name is empty, too long, or has a NUL.
    Name,
    /// It is a link that leads out of where the archive is put, or may.
    Link,
    /// It lies behind a link, or links to what does.
    Behind,
    /// There are too many links.
    Links,
    /// It is a device or a pipe.
    Device,
    /// It is a file with holes.
    Sparse,
    /// Readers would take its size differently.
    Size,
    /// It is something else that is no file, directory or link.
    Type,
}

impl Rule {
    fn as_str(self) -> &'static str {
        match self {
            Self::Absolute => "absolute",
            Self::Parent => "parent",
            Self::Name => "name",
            Self::Link => "link",
            Self::Behind => "behind",
            Self::Links => "links",
            Self::Device => "device",
            Self::Sparse => "sparse",
            Self::Size => "size",
            Self::Type => "type",
        }
    }

    fn mend(self) -> &'static str {
        match self {
            Self::Absolute => "a name is absolute: make it relative (tar -C DIR .)",
            Self::Parent => "a name has \"..\": leave it out",
            Self::Name => {
                "a name is empty, has a zero byte, or is longer than 4096 bytes or 255 in one part: change it"
            }
            Self::Link => {
                "it is a link that may lead out: make its target relative and inside, with every \"..\" at its beginning, or leave it out"
            }
            Self::Behind => "it lies behind a link: leave the link out, or the entry",
            Self::Links => "the archive has too many links: send it in parts",
            Self::Device => "devices and pipes are not taken: leave it out",
            Self::Sparse => "files with holes are not taken: write the tar without --sparse",
            Self::Size => {
                "its header and an extension say different sizes: write the tar in GNU format (tar --format=gnu)"
            }
            Self::Type => "this kind of entry is not taken: leave it out",
        }
    }
}
