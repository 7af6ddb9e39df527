//! Reads numbers out of the kernel's text files, whatever stands in them: a figure that is not what it should be
//! is absent, and the others are still read.

/// A whole number and nothing else. Neither "max" nor "-1" nor a number beyond 64 bits is one.
pub(crate) fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 20 {
        return None;
    }
    word.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// A number with two decimals, in hundredths: "1.25" is 125.
pub(crate) fn hundredths(word: &[u8]) -> Option<u64> {
    let mut parts = word.splitn(2, |byte| *byte == b'.');
    let whole = number(parts.next()?)?.checked_mul(100)?;
    let decimals = match parts.next() {
        None => 0,
        Some(decimals) => match decimals {
            [tens] => number(&[*tens])? * 10,
            [tens, ones, ..] => number(&[*tens, *ones])?,
            [] => return None,
        },
    };
    whole.checked_add(decimals)
}

/// The lines, without empty ones.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// The words of a line.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
}

/// The first word of each line, and the number after it.
pub(crate) fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], Option<u64>)> {
    lines(text).filter_map(|line| {
        let mut words = words(line);
        let key = words.next()?;
        Some((key, words.next().and_then(number)))
    })
}

/// The only number of a file.
pub(crate) fn single(text: &[u8]) -> Option<u64> {
    number(text.trim_ascii())
}

/// Text for people: bytes that are not UTF-8 are replaced, and it is cut after `most` bytes.
pub(crate) fn lossy(bytes: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    crate::excerpt::cut(&text, most).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_numbers() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for wrong in [
            &b""[..],
            b"-1",
            b"max",
            b"18446744073709551616",
            b"1e3",
            b"1.5",
            b"\xff\xfe",
            b"000000000000000000000",
        ] {
            assert_eq!(number(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn decimals_are_hundredths() {
        assert_eq!(hundredths(b"1.25"), Some(125));
        assert_eq!(hundredths(b"0.5"), Some(50));
        assert_eq!(hundredths(b"7"), Some(700));
        assert_eq!(hundredths(b"99.999"), Some(9999));
        for wrong in [&b"."[..], b"1.", b"1.x", b"-1.00", b"nan", b"1.-1"] {
            assert_eq!(hundredths(wrong), None, "{wrong:?}");
        }
    }
}
