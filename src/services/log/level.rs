//! How much a line matters, by the forms in which programs commonly say so.
//!
//! Pure, and bounded: beyond JSON, where the level may stand last, only the beginning of a line is looked at.

use crate::proto::LogLevel;

/// So much of a line that is no JSON is looked at.
const HEAD: usize = 160;
/// So many words of it.
const WORDS: usize = 8;
/// So much of a line of JSON.
const JSON: usize = 16 << 10;

/// The level that a line says, if it says one.
pub(super) fn of(line: &[u8]) -> Option<LogLevel> {
    let mut buffer = [0; HEAD];
    let head = plain(line, &mut buffer);
    let head = head.trim_ascii_start();
    match head.first()? {
        b'{' => json(line.get(..JSON).unwrap_or(line)),
        b'<' => syslog(head),
        _ => klog(head).or_else(|| logfmt(head)).or_else(|| words(head)),
    }
}

/// Whether a line that says no level goes on with what the line before it says.
pub(super) fn goes_on(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t' | b'}' | b')' | b']'))
        || ["Caused by:", "Suppressed:", "at ", "...", "goroutine "]
            .iter()
            .any(|begin| line.starts_with(begin.as_bytes()))
        || is_traceback(line)
}

/// Whether a traceback of Python begins, whose last line is not indented.
pub(super) fn is_traceback(line: &[u8]) -> bool {
    line.starts_with(b"Traceback (most recent call last)")
}

/// The beginning of a line without the escape sequences of terminals.
fn plain<'a>(line: &'a [u8], buffer: &'a mut [u8; HEAD]) -> &'a [u8] {
    let head = line.get(..HEAD).unwrap_or(line);
    if memchr::memchr(0x1b, head).is_none() {
        return head;
    }
    let mut kept = 0;
    let mut bytes = head.iter();
    while let Some(byte) = bytes.next() {
        if *byte == 0x1b {
            // A control sequence ends with a letter.
            let _ = bytes.find(|byte| byte.is_ascii_alphabetic());
        } else if let Some(place) = buffer.get_mut(kept) {
            *place = *byte;
            kept += 1;
        }
    }
    buffer.get(..kept).unwrap_or_default()
}

/// A level by its name.
fn word(text: &[u8]) -> Option<LogLevel> {
    let mut lower = [0; 13];
    let lower = lower.get_mut(..text.len())?;
    lower.copy_from_slice(text);
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"trace" | b"trc" | b"verbose" | b"finest" | b"finer" => LogLevel::Trace,
        b"debug" | b"dbg" | b"dbug" | b"fine" => LogLevel::Debug,
        b"info" | b"inf" | b"information" | b"informational" | b"notice" | b"log" => LogLevel::Info,
        b"warn" | b"warning" | b"wrn" => LogLevel::Warn,
        b"error" | b"err" | b"eror" | b"severe" => LogLevel::Error,
        b"fatal" | b"ftl" | b"crit" | b"critical" | b"alert" | b"emerg" | b"emergency"
        | b"panic" => LogLevel::Fatal,
        _ => return None,
    })
}

/// A level by its number: syslog's severity, or what pino and bunyan write.
fn number(value: u32) -> Option<LogLevel> {
    Some(match value {
        0..=2 => LogLevel::Fatal,
        3 => LogLevel::Error,
        4 => LogLevel::Warn,
        5 | 6 => LogLevel::Info,
        7 => LogLevel::Debug,
        10..=19 => LogLevel::Trace,
        20..=29 => LogLevel::Debug,
        30..=39 => LogLevel::Info,
        40..=49 => LogLevel::Warn,
        50..=59 => LogLevel::Error,
        60..=69 => LogLevel::Fatal,
        _ => return None,
    })
}

fn digits(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `<11>`: facility times eight, and the severity.
fn syslog(line: &[u8]) -> Option<LogLevel> {
    let end = line.iter().take(5).position(|byte| *byte == b'>')?;
    number(digits(line.get(1..end)?)? % 8)
}

/// `E0102 15:04:05.6`, and with the year.
fn klog(line: &[u8]) -> Option<LogLevel> {
    let level = match line.first()? {
        b'I' => LogLevel::Info,
        b'W' => LogLevel::Warn,
        b'E' => LogLevel::Error,
        b'F' => LogLevel::Fatal,
        _ => return None,
    };
    let rest = line.get(1..)?;
    let date = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let time = rest.get(date..)?.trim_ascii_start();
    let timed = matches!(time, [a, b, b':', ..] if a.is_ascii_digit() && b.is_ascii_digit());
    (matches!(date, 4 | 8) && timed).then_some(level)
}

/// `level=warn`, anywhere in the beginning.
fn logfmt(line: &[u8]) -> Option<LogLevel> {
    memchr::memchr_iter(b'=', line).find_map(|at| {
        let before = line.get(..at)?;
        let begin = before.iter().rposition(|byte| *byte == b' ');
        let name = before.get(begin.map_or(0, |begin| begin + 1)..)?;
        if !names_level(name) {
            return None;
        }
        let value = line.get(at + 1..)?;
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        let end = value.iter().position(|byte| matches!(byte, b' ' | b'"'));
        value_level(value.get(..end.unwrap_or(value.len()))?)
    })
}

fn names_level(name: &[u8]) -> bool {
    [
        "level",
        "severity",
        "lvl",
        "levelname",
        "loglevel",
        "log.level",
        "@level",
    ]
    .iter()
    .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

fn value_level(value: &[u8]) -> Option<LogLevel> {
    word(value).or_else(|| number(digits(value)?))
}

/// `[error]`, `ERROR`, `error:` and the like, after a time and perhaps a name.
fn words(line: &[u8]) -> Option<LogLevel> {
    let (mut plain_words, mut apart) = (0, true);
    let words = line.split(|byte| byte.is_ascii_whitespace());
    for text in words.filter(|word| !word.is_empty()).take(WORDS) {
        let bracketed = matches!(text.first(), Some(b'[' | b'(' | b'<' | b'|'));
        let bare = trim(text);
        // `[core:error]` names a module before the level.
        let mut parts = bare.split(|byte| *byte == b':');
        let part = if bracketed {
            parts.next_back()
        } else {
            parts.next()
        };
        let part = part.unwrap_or_default();
        if let Some(level) = word(part) {
            let colon = part.len() < bare.len() || text.ends_with(b":");
            let loud = part.iter().all(u8::is_ascii_uppercase);
            if bracketed || (plain_words == 0 && (loud || colon)) || (loud && apart) {
                return Some(level);
            }
        }
        let letters = bare.iter().any(u8::is_ascii_alphabetic);
        let number = bare.iter().any(u8::is_ascii_digit);
        if letters && !number && !bracketed {
            plain_words += 1;
            if plain_words > 1 {
                return None;
            }
        }
        apart = !letters || text.ends_with(b":") || bracketed;
    }
    None
}

fn trim(text: &[u8]) -> &[u8] {
    let keep = |byte: &u8| byte.is_ascii_alphanumeric();
    let begin = text.iter().position(keep).unwrap_or(text.len());
    let end = text.iter().rposition(keep).map_or(begin, |last| last + 1);
    text.get(begin..end).unwrap_or_default()
}

/// The value of the outermost object's "level".
fn json(line: &[u8]) -> Option<LogLevel> {
    let mut depth = 0_u32;
    let mut key: Option<&[u8]> = None;
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        match byte {
            b'"' => {
                let length = string(line.get(at + 1..)?)?;
                let text = line.get(at + 1..at + 1 + length)?;
                at += length + 2;
                if depth != 1 {
                    continue;
                }
                let after = line.get(at..)?.trim_ascii_start();
                match key.take() {
                    Some(name) if names_level(name) => return value_level(text),
                    None if after.first() == Some(&b':') => key = Some(text),
                    _ => {}
                }
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                key = None;
            }
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b',' => key = None,
            b'0'..=b'9' if depth == 1 && key.is_some_and(names_level) => {
                let rest = line.get(at..)?;
                let end = rest.iter().position(|byte| !byte.is_ascii_digit());
                return number(digits(rest.get(..end?)?)?);
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The length of a string, without its closing quote.
fn string(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', text.get(from..)?)?;
        match text.get(at)? {
            b'"' => return Some(at),
            _ => from = at + 2,
        }
    }
}

#[cfg(test)]
#[path = "level_test.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
