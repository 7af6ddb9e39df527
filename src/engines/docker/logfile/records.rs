//! The records of one file, one after the other, as fast as they can be read.

use std::io;

use bytes::{Bytes, BytesMut};

use super::{
    buffer::Buffer,
    file::{File, TURN},
    gzip::Unpacker,
    record::{Format, Parser, Record, Step},
};

/// A file that records are read from.
#[derive(Debug)]
pub(super) enum Source {
    /// From this place on, and up to that one if there is one.
    Plain {
        file: File,
        at: u64,
        end: Option<u64>,
    },
    /// From the beginning.
    Packed(Box<Unpacker>),
}

impl Source {
    pub(super) fn plain(file: File, at: u64, end: Option<u64>) -> Self {
        Self::Plain { file, at, end }
    }

    pub(super) fn packed(file: File) -> Self {
        Self::Packed(Box::new(Unpacker::new(file)))
    }
}

/// Reads records.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) source: Source,
    buffer: Buffer,
    parser: Parser,
    arena: BytesMut,
}

/// What [`Records::take`] does after a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    GoOn,
    Stop,
}

/// Why [`Records::take`] came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// There is no further whole record in what was read.
    All,
    /// It was to stop.
    Stopped,
    /// So many bytes follow that are no record. They are passed over by [`Records::pass`].
    Damaged(usize),
}

/// A record, and what lines are made with.
pub(super) struct Found<'a> {
    pub(super) record: Record,
    pub(super) whole: &'a Bytes,
    pub(super) at: usize,
    pub(super) arena: &'a mut BytesMut,
}

impl Records {
    pub(super) fn new(format: Format, source: Source) -> Self {
        Self {
            source,
            buffer: Buffer::default(),
            parser: Parser::new(format),
            arena: BytesMut::new(),
        }
    }

    /// Goes on with another file. What is left of the one before is forgotten.
    pub(super) fn change(&mut self, source: Source) {
        self.buffer.clear();
        self.source = source;
    }

    /// Reads on; 0 at the end. Cancel-safe.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        let room = self.buffer.room();
        let read = match &mut self.source {
            Source::Plain { file, at, end } => {
                let left = end.map_or(TURN as u64, |end| end.saturating_sub(*at));
                let most = room.len().min(usize::try_from(left).unwrap_or(TURN));
                let room = room.get_mut(..most).unwrap_or_default();
                let read = if room.is_empty() {
                    0
                } else {
                    file.read_at(room, *at).await?
                };
                *at += read as u64;
                read
            }
            Source::Packed(unpacker) => unpacker.read(room).await?,
        };
        self.buffer.filled(read);
        Ok(read)
    }

    /// Takes records off what was read.
    pub(super) fn take(&mut self, mut each: impl FnMut(Found<'_>) -> After) -> Taken {
        let (whole, start, end) = self.buffer.share();
        let mut at = start;
        let taken = loop {
            let bytes = whole.get(at..end).unwrap_or_default();
            if bytes.is_empty() {
                break Taken::All;
            }
            match self.parser.step(bytes) {
                Step::Incomplete => break Taken::All,
                Step::Damaged(length) => break Taken::Damaged(length),
                Step::Record(record) => {
                    let length = record.length;
                    let found = Found {
                        record,
                        whole: &whole,
                        at,
                        arena: &mut self.arena,
                    };
                    at += length;
                    if each(found) == After::Stop {
                        break Taken::Stopped;
                    }
                }
            }
        };
        self.buffer.take(at - start);
        taken
    }

    /// Passes over what is no record.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.buffer.take(bytes);
    }

    /// What was read and is no whole record, or not taken yet.
    pub(super) fn rest(&self) -> usize {
        self.buffer.len()
    }

    /// Nothing is expected for a while.
    pub(super) fn idle(&mut self) {
        self.buffer.rest();
        if self.arena.is_empty() {
            self.arena = BytesMut::new();
        }
    }

    /// How many records there are up to the end. Cancel-safe in that nothing else is lost.
    pub(super) async fn count(mut self) -> io::Result<u64> {
        let mut count = 0;
        loop {
            let taken = self.take(|_| {
                count += 1;
                After::GoOn
            });
            match taken {
                Taken::Damaged(bytes) => self.pass(bytes),
                Taken::All | Taken::Stopped if self.fill().await? == 0 => return Ok(count),
                Taken::All | Taken::Stopped => {}
            }
        }
    }
}
