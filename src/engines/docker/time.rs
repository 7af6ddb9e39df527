//! The engine's times (RFC 3339 with nanoseconds), read fast.
//!
//! Every line of a log has one, in the fixed form `2006-01-02T15:04:05.000000000Z`. Times that an
//! `i64` of nanoseconds since 1970 cannot hold, like the engine's "never" of year 1, read as none.

/// The length of a log line's time.
pub(super) const FIXED: usize = 30;

const PER_SECOND: i64 = 1_000_000_000;

/// Nanoseconds since the Unix epoch.
pub(super) fn parse(text: &[u8]) -> Option<i64> {
    let (date, rest) = text.split_at_checked(19)?;
    let [
        y1,
        y2,
        y3,
        y4,
        b'-',
        o1,
        o2,
        b'-',
        d1,
        d2,
        b'T' | b't',
        h1,
        h2,
        b':',
        m1,
        m2,
        b':',
        s1,
        s2,
    ] = *date
    else {
        return None;
    };
    let two = |tens: u8, ones: u8| Some(digit(tens)? * 10 + digit(ones)?);
    let year = two(y1, y2)? * 100 + two(y3, y4)?;
    let (month, day) = (two(o1, o2)?, two(d1, d2)?);
    let (hour, minute, second) = (two(h1, h2)?, two(m1, m2)?, two(s1, s2)?);
    let real = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !real {
        return None;
    }
    let (nanos, zone) = fraction(rest)?;
    let offset = match zone {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let seconds = (two(*h1, *h2)? * 60 + two(*m1, *m2)?) * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(PER_SECOND)?.checked_add(nanos)
}

fn digit(byte: u8) -> Option<i64> {
    byte.is_ascii_digit().then(|| i64::from(byte - b'0'))
}

/// The nanoseconds of `.123`, and what follows.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(mut rest) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let (mut nanos, mut place) = (0, PER_SECOND);
    while let Some((first, others)) = rest.split_first()
        && let Some(digit) = digit(*first)
    {
        // More than nine digits are cut off.
        place /= 10;
        nanos += digit * place;
        rest = others;
    }
    (place < PER_SECOND).then_some((nanos, rest))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar: years begin in March, so that the leap day is
/// the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let era = year.div_euclid(400);
    let year = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day_of_year - 719_468
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nanos(text: &str) -> Option<i64> {
        parse(text.as_bytes())
    }

    #[test]
    fn known_times_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.000000001Z", 1),
            ("2026-11-24T11:10:29.386061163Z", 1_795_518_629_386_061_163),
            (
                "2026-11-24T12:10:29.386061163+01:00",
                1_795_518_629_386_061_163,
            ),
            (
                "2026-11-24T10:40:29.386061163-00:30",
                1_795_518_629_386_061_163,
            ),
            ("2000-02-29T00:00:00.5Z", 951_782_400_500_000_000),
            ("1969-12-31T23:59:59.9Z", -100_000_000),
            ("2262-04-11T23:47:16.854775807Z", i64::MAX),
        ] {
            assert_eq!(nanos(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_or_too_far_is_none() {
        for text in [
            "",
            "0001-01-01T00:00:00Z",
            "2262-04-11T23:47:16.854775808Z",
            "2023-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-32T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+1:00",
            "2026-01-01T00:00:00Z ",
            "+026-01-01T00:00:00Z",
        ] {
            assert_eq!(nanos(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_time_is_read_back(nanos_before in 0i64..i64::MAX) {
            // Counted out the slow way: year by year, month by month.
            let (mut days, second) = (nanos_before / PER_SECOND / 86_400, nanos_before / PER_SECOND % 86_400);
            let (mut year, mut month) = (1970, 1);
            while days >= days_in(year, month) {
                days -= days_in(year, month);
                month += 1;
                if month == 13 {
                    (year, month) = (year + 1, 1);
                }
            }
            let text = format!(
                "{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z",
                days + 1, second / 3600, second / 60 % 60, second % 60, nanos_before % PER_SECOND,
            );
            prop_assert_eq!(text.len(), FIXED);
            prop_assert_eq!(nanos(&text), Some(nanos_before));
        }

        #[test]
        fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&bytes);
        }
    }
}
