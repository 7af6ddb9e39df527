//! A record of a log file: what both formats have in common.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::{json, local};
use crate::engines::docker::lines::{Line, MAX_PIECE};

/// A longer record is not read. Engines cut lines after 16 KiB; what may be longer is only what the operator has
/// them write beside (labels and variables).
pub(super) const MAX_RECORD: usize = 8 << 20;

/// How a driver writes its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `json-file`: a JSON object and a newline.
    Json,
    /// `local`: a length, a protobuf message, and the length again.
    Local,
}

/// What is at the front of the bytes that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A whole record.
    Record(Record),
    /// The beginning of one, or nothing.
    Incomplete,
    /// So many bytes that are no record.
    Damaged(usize),
}

/// A record. Ranges are of the bytes that it was found in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// All of it.
    pub(super) length: usize,
    /// Nanoseconds since the Unix epoch.
    pub(super) time: i64,
    /// None when it is of neither of the two streams: an engine gives it to nobody.
    pub(super) stderr: Option<bool>,
    /// What was printed, as it is written in the file.
    pub(super) content: Range<usize>,
    /// It is written with escapes, the newline's among them.
    pub(super) escaped: bool,
    /// No newline came with it. Only known when nothing is escaped.
    pub(super) partial: bool,
}

/// Reads the records of one format.
#[derive(Debug)]
pub(super) struct Parser {
    format: Format,
    clock: json::Clock,
}

impl Parser {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            clock: json::Clock::default(),
        }
    }

    /// The record at the front.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        match self.format {
            Format::Json => json::step(bytes, &mut self.clock),
            Format::Local => local::step(bytes),
        }
    }
}

impl Record {
    /// The lines of it: one, unless it is longer than a line may be. `whole` are the bytes that it was found in,
    /// of which a line is a slice; what has to be rewritten goes through `arena`.
    pub(super) fn lines(
        &self,
        whole: &Bytes,
        at: usize,
        arena: &mut BytesMut,
        give: &mut impl FnMut(Line),
    ) {
        let stderr = self.stderr == Some(true);
        let range = at + self.content.start..at + self.content.end;
        let (mut content, partial) = if self.escaped {
            json::unescape(whole.get(range).unwrap_or_default(), arena);
            let newline = arena.last() == Some(&b'\n');
            if newline {
                arena.truncate(arena.len() - 1);
            }
            (arena.split().freeze(), !newline)
        } else {
            (whole.slice(range), self.partial)
        };
        let line = |content, partial| Line {
            time: self.time,
            stderr,
            content,
            partial,
        };
        while content.len() > MAX_PIECE {
            give(line(content.split_to(MAX_PIECE), true));
        }
        give(line(content, partial));
    }
}
