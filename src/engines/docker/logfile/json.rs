//! Records of the `json-file` driver: `{"log":"…\n","stream":"stdout","attrs":{…},"time":"…"}` and a newline.
//!
//! Pure. Written by an engine, a record has this order and no spaces, and most have no escape but the
//! newline's: those are read in one pass, their content where it lies. Anything else that is JSON is read too, slower.

use std::ops::Range;

use bytes::BytesMut;

use super::record::{MAX_RECORD, Record, Step};
use crate::engines::docker::time;

const OPENING: &[u8] = b"{\"log\":\"";
const STDOUT: &[u8] = b",\"stream\":\"stdout\",\"time\":\"";
const STDERR: &[u8] = b",\"stream\":\"stderr\",\"time\":\"";
/// A time up to its seconds.
const SECONDS: usize = 19;
/// Memory for text that is written anew.
const ARENA: usize = 64 << 10;
/// Objects in objects in attributes are read so deep.
const DEPTH: usize = 32;

/// Reads times, and remembers the last second: records come many to a second.
#[derive(Debug, Default)]
pub(super) struct Clock {
    text: [u8; SECONDS],
    nanos: Option<i64>,
}

impl Clock {
    /// The time at the front and its length, up to a quotation mark.
    fn read(&mut self, text: &[u8]) -> Option<(i64, usize)> {
        let (second, fraction) = text.split_first_chunk::<SECONDS>()?;
        if let Some(known) = self.nanos
            && *second == self.text
            && let Some((nanos, length)) = fraction_of(fraction)
        {
            return Some((known.checked_add(nanos)?, SECONDS + length));
        }
        let length = memchr::memchr(b'"', text.get(..64).unwrap_or(text))?;
        let whole = text.get(..length)?;
        let time = time::parse(whole)?;
        if whole.last() == Some(&b'Z')
            && let Some((nanos, _)) = fraction_of(fraction)
        {
            self.text = *second;
            self.nanos = time.checked_sub(nanos);
        }
        Some((time, length))
    }
}

/// The nanoseconds of `.123Z"`, and the length without the quotation mark.
fn fraction_of(text: &[u8]) -> Option<(i64, usize)> {
    let mut nanos = 0;
    let mut place = 1_000_000_000;
    let mut at = 0;
    if text.first() == Some(&b'.') {
        loop {
            at += 1;
            let digit = text.get(at)?.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            place /= 10;
            nanos += i64::from(digit) * place;
        }
        // A point with nothing behind it is no time; more than nine digits are not an engine's.
        if at == 1 || place == 0 {
            return None;
        }
    }
    (text.get(at..at + 2)? == b"Z\"").then_some((nanos, at + 1))
}

/// The record at the front.
pub(super) fn step(bytes: &[u8], clock: &mut Clock) -> Step {
    if let Some(record) = as_written(bytes, clock) {
        return Step::Record(record);
    }
    let Some(newline) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() > MAX_RECORD {
            // An opening may be cut in two.
            Step::Damaged(damage(bytes).min(bytes.len() - OPENING.len()))
        } else {
            Step::Incomplete
        };
    };
    let line = bytes.get(..newline).unwrap_or_default();
    match object(line, clock) {
        Some(record) if newline < MAX_RECORD => Step::Record(Record {
            length: newline + 1,
            ..record
        }),
        _ => Step::Damaged(damage(line)),
    }
}

/// How much of a line that is no record is lost: a record may begin right behind it, since what a crash has cut
/// off has no newline, and holes read as zeros. No opening can be inside of a record's strings.
fn damage(line: &[u8]) -> usize {
    let begin = line.get(1..).unwrap_or_default();
    memchr::memmem::find(begin, OPENING).map_or(line.len() + 1, |at| at + 1)
}

/// A record exactly as engines write it, without attributes.
fn as_written(bytes: &[u8], clock: &mut Clock) -> Option<Record> {
    let text = bytes.strip_prefix(OPENING)?;
    let first = memchr::memchr2(b'"', b'\\', text)?;
    let after = text.get(first..)?;
    let (content, escaped, partial, closing) = if after.starts_with(b"\\n\"") {
        (first, false, false, first + 3)
    } else if after.first() == Some(&b'"') {
        (first, false, true, first + 1)
    } else {
        let end = string_end(text, first)?;
        (end, true, false, end + 1)
    };
    let rest = text.get(closing..)?;
    let (stderr, rest) = match rest.strip_prefix(STDOUT) {
        Some(rest) => (false, rest),
        None => (true, rest.strip_prefix(STDERR)?),
    };
    let (time, length) = clock.read(rest)?;
    if rest.get(length..length + 3)? != b"\"}\n" {
        return None;
    }
    let length = OPENING.len() + closing + STDOUT.len() + length + 3;
    (length <= MAX_RECORD).then_some(Record {
        length,
        time,
        stderr: Some(stderr),
        content: OPENING.len()..OPENING.len() + content,
        escaped,
        partial,
    })
}

/// Where the string ends that goes on at `from`.
fn string_end(text: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', text.get(from..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some(at);
        }
        from = at + 2;
    }
}

/// Any JSON object that is a record.
fn object(line: &[u8], clock: &mut Clock) -> Option<Record> {
    let mut reader = Reader { line, at: 0 };
    let mut content = 0..0;
    let (mut stream, mut time) = (None, None);
    reader.expect(b'{')?;
    if reader.peek()? != b'}' {
        loop {
            let key = reader.string()?;
            reader.expect(b':')?;
            match line.get(key)? {
                b"log" => content = reader.string()?,
                b"stream" => stream = Some(reader.string()?),
                b"time" => time = Some(reader.string()?),
                _ => reader.skip(DEPTH)?,
            }
            match reader.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
    }
    if reader.peek().is_some() {
        return None;
    }
    let stderr = match line.get(stream.unwrap_or_default())? {
        b"stdout" => Some(false),
        b"stderr" => Some(true),
        _ => None,
    };
    let time = time?;
    // With the quotation mark, by which its end is known.
    let (nanos, length) = clock.read(line.get(time.start..=time.end)?)?;
    (length == time.len()).then_some(Record {
        length: line.len(),
        time: nanos,
        stderr,
        content,
        escaped: true,
        partial: false,
    })
}

/// Reads JSON that is all there.
struct Reader<'a> {
    line: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The next byte that is no space, which stays there.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.line.get(self.at)?;
            if !matches!(byte, b' ' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// Where the string's text is.
    fn string(&mut self) -> Option<Range<usize>> {
        self.expect(b'"')?;
        let begin = self.at;
        let end = string_end(self.line, begin)?;
        self.at = end + 1;
        Some(begin..end)
    }

    /// Passes over a value.
    fn skip(&mut self, depth: usize) -> Option<()> {
        let deeper = depth.checked_sub(1)?;
        match self.peek()? {
            b'"' => self.string().map(drop),
            open @ (b'{' | b'[') => {
                self.at += 1;
                let close = if open == b'{' { b'}' } else { b']' };
                if self.peek()? == close {
                    self.at += 1;
                    return Some(());
                }
                loop {
                    if open == b'{' {
                        self.string()?;
                        self.expect(b':')?;
                    }
                    self.skip(deeper)?;
                    match self.next()? {
                        b',' => {}
                        byte if byte == close => return Some(()),
                        _ => return None,
                    }
                }
            }
            _ => {
                // A number or a word, which nobody reads.
                let rest = self.line.get(self.at..)?;
                let length = rest.iter().take_while(|byte| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
                });
                let length = length.count();
                self.at += length;
                (length > 0).then_some(())
            }
        }
    }
}

/// Writes a string's text as it was before it was escaped. What is no escape, and half a surrogate pair, reads as the replacement character, as engines read it.
pub(super) fn unescape(text: &[u8], into: &mut BytesMut) {
    // Many lines share one piece of memory, which is used again when they are gone.
    let least = text.len().max(ARENA);
    if into.capacity() < text.len() && !into.try_reclaim(least) {
        *into = BytesMut::with_capacity(least);
    }
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(at);
        into.extend_from_slice(plain);
        let (byte, length) = match escape.get(1) {
            Some(b'n') => (b'\n', 2),
            Some(b'r') => (b'\r', 2),
            Some(b't') => (b'\t', 2),
            Some(b'b') => (0x08, 2),
            Some(b'f') => (0x0c, 2),
            Some(byte @ (b'"' | b'\\' | b'/')) => (*byte, 2),
            Some(b'u') => {
                let (character, length) = unicode(escape);
                let mut utf8 = [0; 4];
                into.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
                rest = escape.get(length..).unwrap_or_default();
                continue;
            }
            _ => (b'\\', 1),
        };
        into.extend_from_slice(&[byte]);
        rest = escape.get(length..).unwrap_or_default();
    }
    into.extend_from_slice(rest);
}

/// The character of `\u1234`, or of a pair of those, and the length.
fn unicode(escape: &[u8]) -> (char, usize) {
    let Some(high) = unit(escape) else {
        return (char::REPLACEMENT_CHARACTER, escape.len().min(2));
    };
    if let Some(character) = char::from_u32(high) {
        return (character, 6);
    }
    let low = escape.get(6..).and_then(unit);
    match low {
        Some(low @ 0xdc00..=0xdfff) if high < 0xdc00 => {
            let joined = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            (
                char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER),
                12,
            )
        }
        _ => (char::REPLACEMENT_CHARACTER, 6),
    }
}

fn unit(escape: &[u8]) -> Option<u32> {
    let digits = escape.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| {
        Some(unit * 16 + char::from(*digit).to_digit(16)?)
    })
}

#[cfg(test)]
#[path = "json_test.rs"]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
