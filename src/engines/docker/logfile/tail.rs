//! The last records of a file, found from its end backwards.
//!
//! A record counts as a line, as the engine counts. A file that cannot be read backwards (a compressed one, or one
//! that is damaged at its end) is counted through.

use std::io;

use super::{
    file::File,
    local::{LENGTH, length_at},
    record::Format,
    records::{Records, Source},
};

/// So much is read at once.
const BLOCK: usize = 64 << 10;

/// Where the last records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// From this place on.
    From(u64),
    /// There are only so many records.
    All(u64),
}

/// Finds the last `wanted` records before `end`. None when the file cannot be read backwards.
pub(super) async fn find(
    format: Format,
    file: &mut File,
    end: u64,
    wanted: u64,
) -> io::Result<Option<Tail>> {
    let mut block = Block {
        file,
        end,
        bytes: Vec::new(),
        start: end,
    };
    match format {
        Format::Json => block.json(wanted).await.map(Some),
        Format::Local => block.local(wanted).await,
    }
}

/// How many records a file has.
pub(super) async fn count(format: Format, source: Source) -> io::Result<u64> {
    Records::new(format, source).count().await
}

/// A part of a file that moves towards its beginning.
struct Block<'a> {
    file: &'a mut File,
    /// Nothing is read from here on.
    end: u64,
    bytes: Vec<u8>,
    start: u64,
}

impl Block<'_> {
    /// Reads what ends at `end`, at most a block of it.
    async fn read_before(&mut self, end: u64) -> io::Result<()> {
        let length = BLOCK.min(usize::try_from(end).unwrap_or(BLOCK));
        self.start = end - length as u64;
        self.bytes.resize(length, 0);
        let mut filled = 0;
        while filled < length {
            let room = self.bytes.get_mut(filled..).unwrap_or_default();
            let read = self.file.read_at(room, self.start + filled as u64).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
        }
        Ok(())
    }

    /// Newlines end records, and are nowhere else.
    async fn json(&mut self, wanted: u64) -> io::Result<Tail> {
        let mut at = self.end;
        let mut newlines = 0;
        while at > 0 {
            self.read_before(at).await?;
            for newline in memchr::memrchr_iter(b'\n', &self.bytes) {
                // The newline before the first of the wanted records.
                if newlines == wanted {
                    return Ok(Tail::From(self.start + newline as u64 + 1));
                }
                newlines += 1;
            }
            at = self.start;
        }
        Ok(if newlines == wanted {
            Tail::From(0)
        } else {
            Tail::All(newlines)
        })
    }

    /// The length behind a record leads to the one before it.
    async fn local(&mut self, wanted: u64) -> io::Result<Option<Tail>> {
        let mut at = self.end;
        let mut found = 0;
        while found < wanted && at > 0 {
            let Some(length) = self.length(at.checked_sub(LENGTH as u64)).await? else {
                return Ok(None);
            };
            let begin = at.checked_sub((length + 2 * LENGTH) as u64);
            if self.length(begin).await? != Some(length) {
                return Ok(None);
            }
            at = begin.unwrap_or_default();
            found += 1;
        }
        Ok(Some(if found == wanted {
            Tail::From(at)
        } else {
            Tail::All(found)
        }))
    }

    async fn length(&mut self, at: Option<u64>) -> io::Result<Option<usize>> {
        let Some(at) = at.filter(|at| at + LENGTH as u64 <= self.end) else {
            return Ok(None);
        };
        let end = at + LENGTH as u64;
        if at < self.start || end > self.start + self.bytes.len() as u64 {
            self.read_before(end).await?;
        }
        let place = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(length_at(&self.bytes, place))
    }
}
