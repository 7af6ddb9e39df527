//! Times as they are typed (`10m`, RFC 3339) and as they are printed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

/// A time: so long ago, or a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before now.
    Ago(Duration),
    /// Seconds and nanoseconds since the Unix epoch.
    At { seconds: i64, nanos: i32 },
}

impl Moment {
    /// The point that is meant when it is `now`.
    pub(crate) fn resolve(self, now: SystemTime) -> Timestamp {
        match self {
            Self::Ago(age) => Timestamp::from(now.checked_sub(age).unwrap_or(UNIX_EPOCH)),
            Self::At { seconds, nanos } => Timestamp { seconds, nanos },
        }
    }
}

/// Parses an age or a point in time.
pub(crate) fn parse(text: &str) -> Result<Moment, String> {
    if let Ok(age) = span(text) {
        return Ok(Moment::Ago(age));
    }
    match text.parse::<Timestamp>() {
        Ok(at) if text.contains(['-', ':']) => Ok(Moment::At {
            seconds: at.seconds,
            nanos: at.nanos,
        }),
        _ => Err("write an age as 10m, 1h30m or 2d, or a time as 2026-11-24T08:00:00Z".to_owned()),
    }
}

/// Parses a span of time: numbers with units (`ms`, `s`, `m`, `h`, `d`), largest first or not.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time as 30s, 10m, 1h30m or 500ms".to_owned();
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let length = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(length).ok_or_else(wrong)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let part = Duration::from_millis(number.checked_mul(millis).ok_or_else(wrong)?);
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = next;
    }
    // Protobuf's durations end after ten thousand years.
    if total > Duration::from_secs(315_576_000_000) {
        return Err(wrong());
    }
    Ok(total)
}

/// Parses the time over which agents come back. Agents obey no longer one.
pub(crate) fn spread(text: &str) -> Result<Duration, String> {
    match span(text)? {
        spread if spread <= Duration::from_secs(300) => Ok(spread),
        _ => Err("agents spread their dials over 5m at most".to_owned()),
    }
}

/// Appends a time as RFC 3339 does, in UTC and always to the nanosecond, so that columns align.
pub(crate) fn append_rfc3339(out: &mut Vec<u8>, unix_nano: i64) {
    let seconds = unix_nano.div_euclid(1_000_000_000);
    let nanos = unix_nano.rem_euclid(1_000_000_000);
    let day = seconds.div_euclid(86_400);
    let second = seconds.rem_euclid(86_400);
    let (year, month, date) = civil(day);
    number(out, year, 4);
    out.push(b'-');
    number(out, month, 2);
    out.push(b'-');
    number(out, date, 2);
    out.push(b'T');
    number(out, second / 3600, 2);
    out.push(b':');
    number(out, second / 60 % 60, 2);
    out.push(b':');
    number(out, second % 60, 2);
    out.push(b'.');
    number(out, nanos, 9);
    out.push(b'Z');
}

fn number(out: &mut Vec<u8>, value: i64, width: u32) {
    for place in (0..width).rev() {
        let digit = value / 10_i64.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
}

/// Year, month and day of a day since the Unix epoch, in the Gregorian calendar (years counted from March, so that
/// the leap day comes last).
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year + era * 400 + i64::from(month <= 2), month, date)
}

/// A timestamp for programs: RFC 3339, or nothing.
pub(crate) fn for_programs(at: Option<&Timestamp>) -> Option<String> {
    at.map(ToString::to_string)
}

/// How long ago a timestamp was.
pub(crate) fn since(at: &Timestamp, now: SystemTime) -> Duration {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = u64::try_from(at.seconds).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        assert_eq!(span("10m").unwrap(), Duration::from_secs(600));
        assert_eq!(span("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(span("500ms").unwrap(), Duration::from_millis(500));
        for wrong in [
            "",
            "10",
            "m",
            "10y",
            "-1s",
            "1.5s",
            "99999999999999999999s",
            "9223372036854775807d",
            "ü",
        ] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn points_are_read_to_the_nanosecond() {
        let at = parse("2026-11-24T08:00:00.000000001Z").unwrap();
        assert_eq!(
            at,
            Moment::At {
                seconds: 1_795_507_200,
                nanos: 1
            }
        );
        assert!(parse("yesterday").is_err());
        assert!(parse("10").is_err());
    }

    #[test]
    fn times_are_printed_as_the_library_reads_them() {
        for seconds in [
            0,
            951_782_399,
            951_782_400,
            1_795_521_600,
            4_107_542_399,
            -1,
        ] {
            for nanos in [0, 1, 999_999_999] {
                let mut text = Vec::new();
                append_rfc3339(&mut text, seconds * 1_000_000_000 + nanos);
                let text = String::from_utf8(text).unwrap();
                let read: Timestamp = text.parse().unwrap();
                assert_eq!(
                    (read.seconds, i64::from(read.nanos)),
                    (seconds, nanos),
                    "{text}"
                );
            }
        }
    }
}
