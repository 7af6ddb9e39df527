//! Lines of a log, from the pieces that the framing gives.
//!
//! Pure. Without a terminal one frame is one message of the log: its time, a space, the
//! text, and a newline unless the message is a part of a longer line. With a terminal the messages come one
//! after the other without any mark; engines cut a line after 16 KiB, so that is where the next
//! time may stand; and where a run of the container ended without a newline, after a prompt for example. A line is a slice of what was read; only a line that two reads cut in two is copied.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    framing::{Piece, Source},
    time,
};

/// Engines cut lines into pieces of so many bytes.
const ENGINE_PIECE: usize = 16 << 10;
/// The agent cuts what is longer still, so that one line never costs more than this.
pub(super) const MAX_PIECE: usize = 64 << 10;
/// A time and a space.
const PREFIX: usize = time::FIXED + 1;

/// A line of a log, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When the engine received it, in nanoseconds since the Unix epoch. 0 when it did not say.
    pub time: i64,
    /// It was printed on standard error.
    pub stderr: bool,
    /// Without the newline.
    pub content: Bytes,
    /// No newline came with it.
    pub partial: bool,
}

/// When the container was started last, and the time now. Only a message from before that start can be the
/// last one of a run, with another run's message right behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runs {
    pub(super) last_start: i64,
    pub(super) now: i64,
}

/// Puts lines together.
#[derive(Debug)]
pub(super) enum Assembler {
    /// Without a terminal.
    Frames(Frames),
    /// With a terminal.
    Terminal(Terminal),
}

impl Assembler {
    pub(super) fn new(tty: bool, runs: Runs) -> Self {
        if tty {
            Self::Terminal(Terminal {
                rest: Bytes::new(),
                within: None,
                runs,
            })
        } else {
            Self::Frames(Frames::default())
        }
    }

    /// Takes a piece; gives the lines that it completes.
    pub(super) fn push(&mut self, piece: Piece, give: &mut impl FnMut(Line)) {
        match self {
            Self::Frames(frames) => frames.push(piece, give),
            Self::Terminal(terminal) => terminal.push(piece.bytes, give),
        }
    }

    /// The log has ended; gives what was not completed.
    pub(super) fn finish(&mut self, give: &mut impl FnMut(Line)) {
        if let Self::Terminal(terminal) = self {
            terminal.take_lines(true, give);
        }
    }
}

/// Messages in frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The beginning of a frame that is not here whole.
    pending: BytesMut,
    /// The time of the frame of which a part was given already.
    given: Option<i64>,
}

impl Frames {
    fn push(&mut self, piece: Piece, give: &mut impl FnMut(Line)) {
        let stderr = piece.source == Source::Stderr;
        let bytes = if self.pending.is_empty() {
            if !piece.ends {
                self.pending.extend_from_slice(&piece.bytes);
                Bytes::new()
            } else {
                piece.bytes
            }
        } else {
            self.pending.extend_from_slice(&piece.bytes);
            if piece.ends {
                self.pending.split().freeze()
            } else {
                Bytes::new()
            }
        };
        if piece.ends {
            let (time, mut content) = match self.given.take() {
                Some(time) => (time, bytes),
                None => split_time(bytes),
            };
            let partial = content.last() != Some(&b'\n');
            if !partial {
                content.truncate(content.len() - 1);
            }
            while content.len() > MAX_PIECE {
                let content = content.split_to(MAX_PIECE);
                give(Line {
                    time,
                    stderr,
                    content,
                    partial: true,
                });
            }
            give(Line {
                time,
                stderr,
                content,
                partial,
            });
        } else if self.pending.len() > MAX_PIECE + PREFIX {
            let bytes = self.pending.split().freeze();
            let (time, content) = match self.given {
                Some(time) => (time, bytes),
                None => split_time(bytes),
            };
            self.given = Some(time);
            give(Line {
                time,
                stderr,
                content,
                partial: true,
            });
        }
    }
}

fn split_time(mut message: Bytes) -> (i64, Bytes) {
    match prefix(&message) {
        Some((time, length)) => {
            message.advance(length);
            (time, message)
        }
        None => (0, message),
    }
}

/// The time at the front, and its length with the space.
fn prefix(message: &[u8]) -> Option<(i64, usize)> {
    if message.get(time::FIXED) == Some(&b' ')
        && let Some(time) = time::parse(message.get(..time::FIXED)?)
    {
        return Some((time, PREFIX));
    }
    // Other engines leave out zeros at the end.
    let space = message.iter().take(40).position(|byte| *byte == b' ')?;
    Some((time::parse(message.get(..space)?)?, space + 1))
}

/// Messages without a mark between them.
#[derive(Debug)]
pub(super) struct Terminal {
    rest: Bytes,
    /// The time of the line of which a part was given already without a time after it.
    within: Option<i64>,
    runs: Runs,
}

impl Terminal {
    fn push(&mut self, bytes: Bytes, give: &mut impl FnMut(Line)) {
        if self.rest.is_empty() {
            self.rest = bytes;
        } else {
            let mut joined = BytesMut::with_capacity(self.rest.len() + bytes.len());
            joined.extend_from_slice(&self.rest);
            joined.extend_from_slice(&bytes);
            self.rest = joined.freeze();
        }
        self.take_lines(false, give);
    }

    fn take_lines(&mut self, ended: bool, give: &mut impl FnMut(Line)) {
        while !self.rest.is_empty() {
            let (time, skip) = match self.within {
                Some(time) => (time, 0),
                None if self.rest.len() < PREFIX && !ended => return,
                None => prefix(&self.rest).unwrap_or((0, 0)),
            };
            let body = self.rest.get(skip..).unwrap_or_default();
            let piece = body.get(..=ENGINE_PIECE).unwrap_or(body);
            let newline = memchr::memchr(b'\n', piece);
            let line = piece.get(..newline.unwrap_or(piece.len()));
            let next_run = self.runs.next(line.unwrap_or_default(), time);
            let (length, partial, within) = match (next_run, newline) {
                (Some(at), _) => (at, true, None),
                (None, Some(at)) => (at, false, None),
                // What follows a whole piece says whether the engine cut the line there.
                (None, None) if body.len() >= ENGINE_PIECE + PREFIX => {
                    let after = body.get(ENGINE_PIECE..).unwrap_or_default();
                    let within = prefix(after).is_none().then_some(time);
                    (ENGINE_PIECE, true, within)
                }
                (None, None) if ended => (body.len().min(ENGINE_PIECE), true, None),
                (None, None) => return,
            };
            self.within = within;
            self.rest.advance(skip);
            let content = self.rest.split_to(length);
            if !partial {
                self.rest.advance(1);
            }
            give(Line {
                time,
                stderr: false,
                content,
                partial,
            });
        }
    }
}

impl Runs {
    /// Where in the text of a message the next run's first message begins.
    fn next(self, text: &[u8], time: i64) -> Option<usize> {
        if time >= self.last_start {
            return None;
        }
        memchr::memchr_iter(b'Z', text).find_map(|last| {
            let begin = (last + 1).checked_sub(time::FIXED)?;
            let next = time::parse(text.get(begin..=last)?)?;
            let follows = text.get(last + 1) == Some(&b' ') && (time..=self.now).contains(&next);
            (begin > 0 && follows).then_some(begin)
        })
    }
}

#[cfg(test)]
#[path = "lines_test.rs"]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
