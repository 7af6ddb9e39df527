//! Text from outside, fit for a sentence: one line, and not long.
//!
//! Names, paths and other programs' words stand in messages. Those travel in headers, which have room
//! for 16 KiB in all, and are written to logs.

use std::borrow::Cow;

/// Bytes that are shown of a value.
pub const VALUE: usize = 256;
/// Bytes that are shown of what somebody else says.
pub const SENTENCE: usize = 500;

/// The beginning of a text: so many bytes at most, and a mark when there was more.
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    const MARK: char = '…';
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let room = most.saturating_sub(MARK.len_utf8());
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end));
    let end = end.unwrap_or_default();
    let mut beginning = text.get(..end).unwrap_or_default().to_owned();
    beginning.push(MARK);
    Cow::Owned(beginning)
}

/// The beginning of a text on one line: control characters become blanks.
pub fn excerpt(text: &str, most: usize) -> String {
    let tame = |char: char| if char.is_control() { ' ' } else { char };
    cut(text, most).chars().map(tame).collect()
}

/// The error and its sources, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_stay_and_long_ones_end_in_a_mark() {
        assert_eq!(cut("name", 4), "name");
        assert_eq!(cut("a name", 5), "a …");
        // Not in the middle of a character, and never longer than asked for.
        for most in 3..12 {
            let shown = cut("ééééééé", most);
            assert!(
                shown.len() <= most && shown.ends_with('…'),
                "{most}: {shown}"
            );
        }
        assert_eq!(excerpt("a\r\n\u{1b}[31mb\0", 99), "a   [31mb ");
    }
}
