//! Records of the `local` driver: the length (four bytes, big end first), a protobuf message, and the length again.
//!
//! ```text
//! message LogEntry { string source = 1; int64 time_nano = 2; bytes line = 3; bool partial = 4;
//!                    PartialLogEntryMetadata partial_log_metadata = 5; repeated LogAttr attrs = 6; }
//! message PartialLogEntryMetadata { bool last = 1; string id = 2; int32 ordinal = 3; }
//! ```
//! Pure. The line is stored without its newline. The last piece of a long line is marked as that; engines before 29
//! leave out its newline through the API all the same, so that there it looks like one more piece.

use std::ops::Range;

use super::record::{Record, Step};

/// The longest message that engines themselves read.
const MAX_MESSAGE: usize = 1_000_000;
/// Each of both lengths.
pub(super) const LENGTH: usize = 4;
/// How a message begins: its first field is the name of the stream.
const OPENING: &[u8] = b"\x0a\x06std";

/// The record at the front.
pub(super) fn step(bytes: &[u8]) -> Step {
    match record(bytes) {
        Ok(Some(record)) => Step::Record(record),
        Ok(None) => Step::Incomplete,
        Err(NoRecord) => Step::Damaged(damage(bytes)),
    }
}

struct NoRecord;

fn record(bytes: &[u8]) -> Result<Option<Record>, NoRecord> {
    let Some(length) = length_at(bytes, 0) else {
        return Ok(None);
    };
    let begins = bytes.get(LENGTH..LENGTH + OPENING.len());
    if length < OPENING.len()
        || length > MAX_MESSAGE
        || begins.is_some_and(|begin| begin != OPENING)
    {
        return Err(NoRecord);
    }
    let Some(closing) = length_at(bytes, LENGTH + length) else {
        return Ok(None);
    };
    let message = bytes.get(LENGTH..LENGTH + length).ok_or(NoRecord)?;
    if closing != length {
        return Err(NoRecord);
    }
    entry(message).map(Some).ok_or(NoRecord)
}

/// The length that stands there.
pub(super) fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let length = bytes.get(at..)?.first_chunk::<LENGTH>()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

/// How many bytes are lost before something that may be a record again.
fn damage(bytes: &[u8]) -> usize {
    let from = LENGTH + 1;
    let rest = bytes.get(from..).unwrap_or_default();
    match memchr::memmem::find(rest, OPENING) {
        Some(at) => from + at - LENGTH,
        // An opening may be cut in two.
        None => bytes.len().saturating_sub(LENGTH + OPENING.len()).max(1),
    }
}

fn entry(message: &[u8]) -> Option<Record> {
    let mut fields = Fields { message, at: 0 };
    let mut content = LENGTH..LENGTH;
    let (mut stderr, mut time, mut partial, mut last) = (None, 0, false, false);
    while let Some(field) = fields.next() {
        match field? {
            (1, Value::Bytes(range)) => {
                stderr = match message.get(range)? {
                    b"stdout" => Some(false),
                    b"stderr" => Some(true),
                    _ => None,
                }
            }
            (2, Value::Number(nanos)) => time = nanos.cast_signed(),
            (3, Value::Bytes(range)) => content = LENGTH + range.start..LENGTH + range.end,
            (4, Value::Number(number)) => partial = number != 0,
            (5, Value::Bytes(range)) => {
                let mut inner = Fields {
                    message: message.get(range)?,
                    at: 0,
                };
                while let Some(field) = inner.next() {
                    if let (1, Value::Number(number)) = field? {
                        last = number != 0;
                    }
                }
            }
            _ => {}
        }
    }
    Some(Record {
        length: LENGTH + message.len() + LENGTH,
        time,
        stderr,
        content,
        escaped: false,
        partial: partial && !last,
    })
}

enum Value {
    Number(u64),
    Bytes(Range<usize>),
}

/// The fields of a protobuf message.
struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    /// The next field's number and value; `Some(None)` when there is none that makes sense.
    fn next(&mut self) -> Option<Option<(u64, Value)>> {
        (self.at < self.message.len()).then(|| self.field())
    }

    fn field(&mut self) -> Option<(u64, Value)> {
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => Value::Bytes(self.bytes(8)?),
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => Value::Bytes(self.bytes(4)?),
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn bytes(&mut self, length: usize) -> Option<Range<usize>> {
        let end = self.at.checked_add(length)?;
        if end > self.message.len() {
            return None;
        }
        let range = self.at..end;
        self.at = end;
        Some(range)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for place in 0..10 {
            let byte = *self.message.get(self.at)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
#[path = "local_test.rs"]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
