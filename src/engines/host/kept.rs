//! Files of the kernel that are read again and again: kept open, because finding them costs more than reading them.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// More of one file is not read.
const MOST: usize = 1024 * 1024;
const FIRST: usize = 4096;

/// Of a file that is read once, no more is read.
const SMALL: u64 = 64 * 1024;

/// Reads a file once. Whatever lies there, it takes little memory.
pub(crate) fn read_once(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SMALL).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// One file.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    file: Option<File>,
    keep: bool,
    /// The kernel makes it in one piece: what one reading leaves room after is all there is.
    one_piece: bool,
}

impl Kept {
    /// A file that stays open from its first reading on.
    pub(crate) fn open(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            keep: true,
            one_piece: false,
        }
    }

    /// The kernel makes this file in one piece, and no second reading has to find its end.
    pub(crate) fn in_one_piece(self) -> Self {
        Self {
            one_piece: true,
            ..self
        }
    }

    /// A file that is opened at each reading: it would keep something alive, or there are too many.
    pub(crate) fn closed(path: PathBuf) -> Self {
        Self {
            keep: false,
            ..Self::open(path)
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it into `buffer`, from its beginning.
    pub(crate) fn read<'a>(&mut self, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        let opened = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path)?,
        };
        let length = fill(&opened, self.one_piece, buffer)?;
        if self.keep {
            self.file = Some(opened);
        }
        Ok(buffer.get(..length).unwrap_or_default())
    }
}

/// Reads until the end. A file of the kernel is made anew at its beginning, and may come in pieces.
fn fill(file: &File, one_piece: bool, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut length = 0;
    if buffer.len() < FIRST {
        buffer.resize(FIRST, 0);
    }
    loop {
        if length == buffer.len() {
            if length >= MOST {
                // A line that was cut would be read as another number.
                let whole = buffer.iter().rposition(|byte| *byte == b'\n');
                return Ok(whole.map_or(0, |last| last + 1));
            }
            buffer.resize(length * 2, 0);
        }
        let room = buffer.get_mut(length..).unwrap_or_default();
        match file.read_at(room, length as u64) {
            Ok(0) => return Ok(length),
            Ok(read) => {
                length += read;
                if one_piece && length < buffer.len() {
                    return Ok(length);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
