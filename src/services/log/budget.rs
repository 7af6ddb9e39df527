//! A byte budget: so many bytes of lines a second, and what was left out is counted to be told.
//!
//! Pure, but for the time that it is given.

use std::time::Duration;

use tokio::time::Instant;

use crate::{engines::docker::lines::Line, proto::LogDrop};

/// What is left out is told this often.
pub(super) const TOLD_EVERY: Duration = Duration::from_secs(1);
/// What a line costs beside its content.
const OVERHEAD: u64 = 16;

/// A bucket that fills with time and that lines empty.
#[derive(Debug)]
pub(super) struct Budget {
    per_second: u64,
    left: u64,
    filled: Instant,
    dropped: LogDrop,
    told: Instant,
}

impl Budget {
    /// Full.
    pub(super) fn new(per_second: u64, now: Instant) -> Self {
        Self {
            per_second,
            left: per_second,
            filled: now,
            dropped: LogDrop::default(),
            told: now,
        }
    }

    /// Adds what the time since the last filling brings.
    pub(super) fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled);
        let brings = since.as_nanos().saturating_mul(u128::from(self.per_second)) / 1_000_000_000;
        let brings = u64::try_from(brings).unwrap_or(u64::MAX);
        if brings > 0 {
            self.left = self.left.saturating_add(brings).min(self.per_second);
            self.filled = now;
        }
    }

    /// Whether the line may pass. One that is larger than the whole bucket passes when it is full.
    pub(super) fn admits(&mut self, line: &Line) -> bool {
        let cost = line.content.len() as u64 + OVERHEAD;
        if cost <= self.left || self.left == self.per_second {
            self.left = self.left.saturating_sub(cost);
            return true;
        }
        if self.dropped.lines == 0 {
            self.dropped.first_unix_nano = line.time;
        }
        self.dropped.lines += 1;
        self.dropped.bytes += line.content.len() as u64;
        self.dropped.last_unix_nano = line.time;
        false
    }

    /// When what was left out is to be told. None when nothing was.
    pub(super) fn tells_at(&self) -> Option<Instant> {
        (self.dropped.lines > 0).then(|| self.told + TOLD_EVERY)
    }

    /// What was left out since this was asked last, when there was anything.
    pub(super) fn tell(&mut self, now: Instant) -> Option<LogDrop> {
        let dropped = std::mem::take(&mut self.dropped);
        self.told = now;
        (dropped.lines > 0).then_some(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(length: usize) -> Line {
        Line {
            time: 5,
            stderr: false,
            content: vec![b'x'; length].into(),
            partial: false,
        }
    }

    #[test]
    fn so_much_passes_and_the_rest_is_counted() {
        let start = Instant::now();
        let mut budget = Budget::new(1000, start);
        let passed = (0..100).filter(|_| budget.admits(&line(84))).count();
        assert_eq!(passed, 10);
        assert_eq!(budget.tells_at(), Some(start + TOLD_EVERY));
        let told = budget.tell(start + TOLD_EVERY);
        assert_eq!(
            told.map(|drop| (drop.lines, drop.bytes, drop.first_unix_nano)),
            Some((90, 90 * 84, 5))
        );
        assert_eq!((budget.tell(start), budget.tells_at()), (None, None));
        // Over any time, no more than the rate, however often it is filled.
        let mut passed = 0;
        for milli in 1..=10_000 {
            budget.fill(start + Duration::from_millis(milli));
            passed += usize::from(budget.admits(&line(84)));
        }
        assert!((95..=100).contains(&passed), "{passed}");
    }

    #[test]
    fn a_line_larger_than_the_budget_passes_when_all_of_it_is_there() {
        let start = Instant::now();
        let mut budget = Budget::new(10, start);
        assert!(budget.admits(&line(5000)));
        assert!(!budget.admits(&line(1)));
        budget.fill(start + Duration::from_secs(1));
        assert!(budget.admits(&line(5000)));
    }
}
