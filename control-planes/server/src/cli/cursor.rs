//! Where a log stands, so that it can go on after a call that could not be resumed.
//!
//! The engine's `since` is a time and includes it. Several lines may have one time, and a line of one stream may
//! be a little older than what the other had printed before it: so the log is read again from a little before its newest
//! line, and the lines that were seen from there on are left out once, counted by time and stream.

use std::collections::{HashMap, VecDeque};

use prost_types::Timestamp;
use turbopanel_control_plane::proto::agent::LogLine;

/// How much older than the newest line a new one may be, in nanoseconds.
const WINDOW: i64 = 1_000_000_000;
/// Lines that are remembered, at most: where so many come within the window, it is shorter.
const REMEMBERED: usize = 64 * 1024;

/// The time and the stream of a line.
type Key = (i64, i32);

/// The last lines that were printed.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    newest: i64,
    /// Everything from here on is remembered.
    floor: i64,
    seen: VecDeque<Key>,
    skip: HashMap<Key, usize>,
}

impl Cursor {
    /// Where to go on. Nothing when no line with a time has been seen.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        let since = self.floor.max(self.newest.saturating_sub(WINDOW)).max(1);
        (self.newest > 0).then(|| Timestamp {
            seconds: since.div_euclid(1_000_000_000),
            nanos: i32::try_from(since.rem_euclid(1_000_000_000)).unwrap_or_default(),
        })
    }

    /// The log is read again from [`Cursor::since`].
    pub(crate) fn again(&mut self) {
        self.skip.clear();
        for key in &self.seen {
            *self.skip.entry(*key).or_default() += 1;
        }
    }

    /// Takes note of a line; whether it is new.
    pub(crate) fn is_new(&mut self, line: &LogLine) -> bool {
        let key = (line.time_unix_nano, line.stream);
        if line.time_unix_nano <= 0 {
            return true;
        }
        if !self.skip.is_empty()
            && let Some(left) = self.skip.get_mut(&key)
        {
            if *left > 1 {
                *left -= 1;
            } else {
                self.skip.remove(&key);
            }
            return false;
        }
        self.newest = self.newest.max(line.time_unix_nano);
        self.seen.push_back(key);
        let old = self.newest.saturating_sub(WINDOW);
        while let Some((time, _)) = self.seen.front().copied()
            && (time < old || self.seen.len() > REMEMBERED)
        {
            self.floor = self.floor.max(time.saturating_add(1));
            self.seen.pop_front();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turbopanel_control_plane::proto::agent::OutputStream::{self, Stderr, Stdout};

    fn line(time: i64, stream: OutputStream) -> LogLine {
        LogLine {
            time_unix_nano: time,
            stream: stream.into(),
            content: Vec::new().into(),
            partial: false,
        }
    }

    fn nanos(at: Timestamp) -> i64 {
        at.seconds * 1_000_000_000 + i64::from(at.nanos)
    }

    /// Reads a log to each of the ends in turn; how many lines were printed, and how many were read.
    fn read(log: &[LogLine], ends: &[usize]) -> (usize, usize) {
        let mut cursor = Cursor::default();
        let (mut printed, mut asked) = (0, 0);
        for end in ends {
            cursor.again();
            let since = cursor.since().map_or(0, nanos);
            let after = |line: &&LogLine| line.time_unix_nano >= since;
            for line in log.iter().take(*end).filter(after) {
                asked += 1;
                printed += usize::from(cursor.is_new(line));
            }
        }
        (printed, asked)
    }

    #[test]
    fn a_log_goes_on_wherever_it_was_cut() {
        const SECOND: i64 = 1_000_000_000;
        let log: Vec<_> = [
            (5, Stdout),
            (7, Stdout),
            (7, Stderr),
            (7, Stdout),
            // Printed later, but older.
            (6, Stderr),
            (7, Stdout),
            (3 * SECOND, Stdout),
            (2 * SECOND + 7, Stderr),
            (3 * SECOND, Stdout),
            (9 * SECOND, Stderr),
        ]
        .map(|(time, stream)| line(time, stream))
        .into();
        for cut in 0..=log.len() {
            for second in cut..=log.len() {
                let (printed, _) = read(&log, &[cut, second, log.len()]);
                assert_eq!(printed, log.len(), "cut after {cut}, then after {second}");
            }
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let lines: Vec<_> = (1..=200_000)
            .map(|time| line(time * 1000, Stdout))
            .collect();
        let (printed, asked) = read(&lines, &[150_000, lines.len()]);
        assert_eq!(printed, lines.len());
        assert!(asked <= lines.len() + REMEMBERED, "{asked}");
    }
}
