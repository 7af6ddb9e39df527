//! Where a log stands, so that it can go on after a call that could not be resumed.
//!
//! The engine's `since` is a time and includes it, and several lines may have one time: so the lines
//! seen at the last time are counted, for each stream, and left out once when the log is read again.

use prost_types::Timestamp;
use turbopanel_control_plane::proto::agent::{LogLine, OutputStream};

/// The last line that was printed.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    time: i64,
    seen: [u64; 3],
    skip: [u64; 3],
}

impl Cursor {
    /// Where to go on. Nothing when no line with a time has been seen.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        (self.time > 0).then(|| Timestamp {
            seconds: self.time.div_euclid(1_000_000_000),
            nanos: i32::try_from(self.time.rem_euclid(1_000_000_000)).unwrap_or_default(),
        })
    }

    /// The log is read again from [`Cursor::since`].
    pub(crate) fn again(&mut self) {
        self.skip = self.seen;
    }

    /// Takes note of a line; whether it is new.
    pub(crate) fn is_new(&mut self, line: &LogLine) -> bool {
        let index = match line.stream() {
            OutputStream::Unspecified => 0,
            OutputStream::Stdout => 1,
            OutputStream::Stderr => 2,
        };
        let (Some(seen), Some(skip)) = (self.seen.get_mut(index), self.skip.get_mut(index)) else {
            return true;
        };
        if line.time_unix_nano == self.time && *skip > 0 {
            *skip -= 1;
            return false;
        }
        if line.time_unix_nano == self.time {
            *seen += 1;
        } else if line.time_unix_nano > self.time {
            self.time = line.time_unix_nano;
            self.seen = [0; 3];
            self.skip = [0; 3];
            if let Some(seen) = self.seen.get_mut(index) {
                *seen = 1;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(time: i64, stream: OutputStream) -> LogLine {
        LogLine {
            time_unix_nano: time,
            stream: stream.into(),
            content: Vec::new().into(),
            partial: false,
        }
    }

    #[test]
    fn a_log_goes_on_wherever_it_was_cut() {
        use OutputStream::{Stderr, Stdout};
        let log: Vec<_> = [
            (5, Stdout),
            (7, Stdout),
            (7, Stderr),
            (7, Stdout),
            (7, Stdout),
            (9, Stderr),
        ]
        .map(|(time, stream)| line(time, stream))
        .into();
        for cut in 0..=log.len() {
            for second in 0..=log.len() {
                let mut cursor = Cursor::default();
                let mut printed = 0;
                for end in [cut, second, log.len()] {
                    cursor.again();
                    let since = cursor.since().map_or(0, |at| i64::from(at.nanos));
                    for line in log
                        .iter()
                        .take(end)
                        .filter(|line| line.time_unix_nano >= since)
                    {
                        printed += usize::from(cursor.is_new(line));
                    }
                }
                assert_eq!(printed, log.len(), "cut after {cut}, then after {second}");
            }
        }
    }
}
