//! The last hour, in steps of 10 s and bounded memory.
//!
//! Steps are written one after the other into segments of five minutes, each of which can be read by itself. What
//! is older than an hour goes a segment at a time; so does the oldest when all of it grows beyond its bound.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    ContainerRow, Step,
    codec::{Decoder, Encoder},
    rows,
};

/// The time between two steps.
pub const STEP: Duration = Duration::from_secs(10);
const KEPT: Duration = Duration::from_secs(3600);
const STEPS_OF_SEGMENT: u64 = 30;
/// Bytes of all segments, at most. 50 containers take less than half of it.
const MOST: usize = 4 * 1024 * 1024;

/// A place between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bookmark(u64);

/// What is kept.
#[derive(Debug, Default)]
pub struct History {
    segments: VecDeque<Segment>,
    /// Of the newest segment.
    encoder: Encoder,
    /// The number of the next step.
    next: u64,
}

#[derive(Debug)]
struct Segment {
    /// The number of its first step.
    first: u64,
    steps: u64,
    began: Duration,
    bytes: Vec<u8>,
}

impl Segment {
    fn steps(&self) -> impl Iterator<Item = (u64, Step)> {
        let mut decoder = Decoder::new(&self.bytes);
        let steps = std::iter::from_fn(move || {
            let (times, rows) = decoder.next()?;
            Some(rows::to_step(times, rows))
        });
        (self.first..).zip(steps)
    }
}

impl History {
    /// Keeps a step, which is later than the others by its tick.
    pub fn push(&mut self, step: &Step) {
        let full = |segment: &Segment| segment.steps >= STEPS_OF_SEGMENT;
        if self.segments.back().is_none_or(full) {
            if let Some(last) = self.segments.back_mut() {
                last.bytes.shrink_to_fit();
            }
            self.encoder = Encoder::default();
            self.segments.push_back(Segment {
                first: self.next,
                steps: 0,
                began: step.host.tick,
                bytes: Vec::new(),
            });
        }
        if let Some(segment) = self.segments.back_mut() {
            let (times, rows) = (rows::times(step), rows::from_step(step));
            self.encoder.write(times, rows, &mut segment.bytes);
            segment.steps += 1;
            self.next += 1;
        }
        let old = |next: &Segment| step.host.tick.saturating_sub(next.began) >= KEPT;
        while self.segments.get(1).is_some_and(old) || self.bytes() > MOST {
            // With the last one all is forgotten: a host with so many containers keeps minutes.
            self.segments.pop_front();
            if self.segments.is_empty() {
                self.forget();
                break;
            }
        }
    }

    /// Forgets all of it. Bookmarks stay good.
    pub fn forget(&mut self) {
        self.segments = VecDeque::new();
        self.encoder = Encoder::default();
    }

    /// The bytes that it takes.
    pub fn bytes(&self) -> usize {
        let segments = self.segments.iter();
        let segments: usize = segments.map(|segment| segment.bytes.capacity()).sum();
        segments + self.encoder.bytes()
    }

    /// After the newest step.
    pub fn end(&self) -> Bookmark {
        Bookmark(self.next)
    }

    /// When the oldest step was read.
    pub fn oldest(&self) -> Option<SystemTime> {
        let mut steps = self.segments.iter().flat_map(Segment::steps);
        steps.next().map(|(_, step)| step.host.time)
    }

    /// Where to begin for whoever has all until this time: after the step of that very time; else before the step that
    /// came next by the clock of then; else before the first that is later. Steps are in their own order, and where the
    /// clock was set, a time may have come twice, or never: nothing is left out then, and something may be repeated.
    pub fn after(&self, time: SystemTime) -> Bookmark {
        let (mut within, mut later) = (None, None);
        let mut before = None::<(SystemTime, Duration)>;
        for (number, step) in self.segments.iter().flat_map(Segment::steps) {
            let now = (step.host.time, step.host.tick);
            if now.0 == time {
                return Bookmark(number + 1);
            }
            // What that clock would have said, had nobody set it since.
            let unset = before.and_then(|before| {
                let passed = now.1.saturating_sub(before.1);
                before.0.checked_add(passed).map(|until| before.0..until)
            });
            if within.is_none() && unset.is_some_and(|span| span.contains(&time)) {
                within = Some(Bookmark(number));
            }
            if later.is_none() && now.0 > time {
                later = Some(Bookmark(number));
            }
            before = Some(now);
        }
        within.or(later).unwrap_or(self.end())
    }

    /// The containers that ran at some time that is kept, each as it was last.
    pub fn containers(&self) -> Vec<ContainerRow> {
        let mut found = HashMap::new();
        for (_, step) in self.segments.iter().flat_map(Segment::steps) {
            let rows = step.containers.into_iter().flat_map(|sample| sample.rows);
            found.extend(rows.map(|row| (Arc::clone(&row.id), row)));
        }
        found.into_values().collect()
    }

    /// Before the first step that was read after this tick.
    pub fn after_tick(&self, tick: Duration) -> Bookmark {
        let mut steps = self.segments.iter().flat_map(Segment::steps);
        let later = steps.find(|(_, step)| step.host.tick > tick);
        later.map_or(self.end(), |(number, _)| Bookmark(number))
    }

    /// The steps after a place, as many as lie together, the one before them if it is kept, and the
    /// place after them. Empty at the end.
    pub fn read(&self, from: Bookmark) -> (Option<Step>, Vec<Step>, Bookmark) {
        let holds = |segment: &Segment| segment.first + segment.steps > from.0;
        let Some(index) = self.segments.iter().position(holds) else {
            return (None, Vec::new(), self.end().max(from));
        };
        let (mut before, mut steps, mut next) = (None, Vec::new(), from);
        if let Some(segment) = self.segments.get(index) {
            for (number, step) in segment.steps() {
                if number < from.0 {
                    before = Some(step);
                } else {
                    steps.push(step);
                }
            }
            next = Bookmark(segment.first + segment.steps);
        }
        if before.is_none() {
            let previous = index.checked_sub(1).and_then(|at| self.segments.get(at));
            before = previous.and_then(|segment| segment.steps().last().map(|(_, step)| step));
        }
        (before, steps, next)
    }
}

#[cfg(test)]
#[path = "history_test.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
