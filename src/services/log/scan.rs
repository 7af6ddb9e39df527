//! Matches in one log, with the lines around them. What is kept of them is bounded.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{filter::Judge, search::Search};
use crate::{engines::docker::lines::Line, proto::LogLevel};

/// All that is found has so many bytes, at most.
pub(super) const MOST_BYTES: usize = 16 << 20;
/// So much of a line that matches is kept.
const MOST_OF_LINE: usize = 64 << 10;
/// What a line costs beside its content.
const OVERHEAD: usize = 64;

/// A line that matches, and what is around it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) before: Vec<(Line, LogLevel)>,
    pub(super) lines: Vec<(Line, LogLevel)>,
    pub(super) after: Vec<(Line, LogLevel)>,
    size: usize,
}

impl Found {
    /// When it was printed.
    pub(super) fn time(&self) -> i64 {
        self.lines.first().map_or(0, |(line, _)| line.time)
    }

    /// About how many bytes it has.
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

/// Looks at the lines of one log.
#[derive(Debug)]
pub(super) struct Scanner {
    judge: Judge,
    inner: Inner,
    pub(super) found: VecDeque<Found>,
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct Inner {
    before: usize,
    after: usize,
    limit: usize,
    newest: bool,
    /// The lines before, should the next one match.
    last: VecDeque<(Line, LogLevel)>,
    /// Lines that are still to come after a match.
    to_come: usize,
    /// The last match goes on, on this output.
    goes_on: Option<bool>,
    size: usize,
    /// Matches were left out, or reading was stopped.
    left_out: bool,
}

impl Scanner {
    /// Nothing is read yet.
    pub(super) fn new(search: &Search) -> Self {
        Self {
            judge: Judge::new(search.filter.clone()),
            inner: Inner {
                before: search.before,
                after: search.after,
                limit: search.limit,
                newest: search.newest,
                last: VecDeque::new(),
                to_come: 0,
                goes_on: None,
                size: 0,
                left_out: false,
            },
            found: VecDeque::new(),
            lines: 0,
            bytes: 0,
        }
    }

    /// Takes the next line.
    pub(super) fn push(&mut self, line: Line) {
        self.lines += 1;
        self.bytes += line.content.len() as u64;
        let (inner, found) = (&mut self.inner, &mut self.found);
        self.judge.judge(0, line, &mut |line, level, wanted| {
            inner.take(found, line, level, wanted);
        });
    }

    /// Nothing more comes. Whether there are, or may be, more matches than are kept.
    pub(super) fn finish(&mut self) -> bool {
        let (inner, found) = (&mut self.inner, &mut self.found);
        self.judge.finish(0, &mut |line, level, wanted| {
            inner.take(found, line, level, wanted);
        });
        self.inner.left_out
    }

    /// Whether the oldest matches are all there.
    pub(super) fn is_over(&mut self) -> bool {
        let inner = &mut self.inner;
        let full = self.found.len() >= inner.limit || inner.size > MOST_BYTES;
        let over = !inner.newest && full && inner.to_come == 0 && inner.goes_on.is_none();
        inner.left_out |= over;
        over
    }

    /// Whether there are as many as are wanted.
    pub(super) fn enough(&self) -> bool {
        self.found.len() >= self.inner.limit
    }
}

impl Inner {
    fn take(&mut self, found: &mut VecDeque<Found>, line: Line, level: LogLevel, wanted: bool) {
        if !wanted {
            self.around(found, line, level);
            return;
        }
        let goes_on = self.goes_on == Some(line.stderr);
        if !goes_on && !self.newest && found.len() >= self.limit {
            // One more match ends what comes after the last one.
            (self.to_come, self.left_out) = (0, true);
            return;
        }
        if !goes_on {
            let before: Vec<_> = self.last.drain(..).collect();
            let size = before.iter().map(|(line, _)| cost(line)).sum();
            self.size += size;
            found.push_back(Found {
                before,
                size,
                ..Found::default()
            });
            self.to_come = self.after;
        }
        self.goes_on = line.partial.then_some(line.stderr);
        if let Some(last) = found.back_mut()
            && last
                .lines
                .iter()
                .map(|(line, _)| line.content.len())
                .sum::<usize>()
                < MOST_OF_LINE
        {
            last.size += cost(&line);
            self.size += cost(&line);
            last.lines.push((own(line), level));
        }
        while found.len() > self.limit || (self.newest && self.size > MOST_BYTES && found.len() > 1)
        {
            let oldest = found.pop_front();
            self.size = self
                .size
                .saturating_sub(oldest.map_or(0, |oldest| oldest.size));
            self.left_out = true;
        }
    }

    /// A line that does not match.
    fn around(&mut self, found: &mut VecDeque<Found>, line: Line, level: LogLevel) {
        if self.to_come > 0
            && let Some(last) = found.back_mut()
        {
            self.to_come -= 1;
            last.size += cost(&line);
            self.size += cost(&line);
            last.after.push((own(line), level));
        } else if self.before > 0 {
            if self.last.len() >= self.before {
                self.last.pop_front();
            }
            self.last.push_back((own(line), level));
        }
    }
}

fn cost(line: &Line) -> usize {
    line.content.len() + OVERHEAD
}

/// Copied, so that a line that is kept does not hold everything that was read with it.
fn own(line: Line) -> Line {
    let content = Bytes::copy_from_slice(&line.content);
    Line { content, ..line }
}
