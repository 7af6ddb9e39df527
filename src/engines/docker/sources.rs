//! The containers whose logs are merged, and whose line is next.
//!
//! Pure, but for the time that it is given.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    container::Container,
    lines::Line,
    reader::Reading,
    source::{Label, OVERHEAD, Phase, Source, SourceEnd},
};

/// A batch is given when it has so many bytes.
const FULL: usize = 256 << 10;
/// Live lines wait so long for older ones of others ...
const WINDOW: Duration = Duration::from_millis(100);
/// ... or longer, when there are many sources: each batch costs its cursor.
const WINDOW_EACH: Duration = Duration::from_micros(500);
/// So many bytes of lines wait, at most, before they are given at once.
const HELD: usize = 512 << 10;

/// All sources, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) all: BTreeMap<u32, Source>,
    last: u32,
    /// Bytes in the queues.
    held: usize,
    /// When live lines that wait are given.
    due: Option<Instant>,
}

/// What is to be done after a look at the engine's list.
#[derive(Debug)]
pub(super) struct Compared {
    /// To be read on.
    pub(super) start: Vec<u32>,
    /// Not known before.
    pub(super) new: Vec<Container>,
    /// To be looked at again soon.
    pub(super) again: bool,
}

impl Sources {
    /// Adds one; its number.
    pub(super) fn add(&mut self, source: Source) -> u32 {
        self.last = self.last.saturating_add(1);
        self.all.insert(self.last, source);
        self.last
    }

    /// More live lines may be read ahead.
    pub(super) fn has_room(&self) -> bool {
        self.held < HELD
    }

    /// When lines are given that wait for others. None when none waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes lines that were read of a source.
    pub(super) fn take(&mut self, index: u32, lines: Vec<Line>, now: Instant) {
        let count = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        if let Some(source) = self.all.get_mut(&index) {
            if source.phase == Phase::Live && !lines.is_empty() {
                let window = WINDOW.max(WINDOW_EACH.saturating_mul(count));
                self.due.get_or_insert(now + window);
            }
            self.held += source.take(lines);
        }
    }

    /// Keeps what was read behind a gap until the lines before it are given; else gives it back.
    pub(super) fn hold(&mut self, index: u32, reading: Reading) -> Option<Reading> {
        match self.all.get_mut(&index) {
            Some(source) if reading.gap.is_some() && !source.queue.is_empty() => {
                source.held = Some(reading);
                None
            }
            _ => Some(reading),
        }
    }

    /// What was read behind a gap before which all is given.
    pub(super) fn release(&mut self) -> Option<(u32, Reading)> {
        let mut all = self.all.iter_mut();
        all.find_map(|(index, source)| {
            let reading = source.held.take_if(|_| source.queue.is_empty())?;
            Some((*index, reading))
        })
    }

    /// Something has happened to the containers with these ids.
    pub(super) fn touch(&mut self, ids: &[String]) {
        for source in self.all.values_mut() {
            source.touched |= ids.contains(&source.label.id);
        }
    }

    /// Compares with what the engine lists.
    pub(super) fn compare(&mut self, listed: Vec<Container>) -> Compared {
        let mut listed: HashMap<String, Container> = listed
            .into_iter()
            .map(|container| (container.id.clone(), container))
            .collect();
        let (mut start, mut again) = (Vec::new(), false);
        for (index, source) in &mut self.all {
            let Some(container) = listed.remove(&source.label.id) else {
                source.removed = true;
                if source.phase == Phase::Idle {
                    source.ended = Some(SourceEnd::Removed);
                }
                continue;
            };
            source.label.name.clone_from(&container.name);
            source.runs = container.runs();
            let readable = !matches!(source.told, Some(SourceEnd::Unreadable(_)));
            if (source.runs || source.touched) && source.phase == Phase::Idle && readable {
                match source.ended {
                    // What ended is told before what begins.
                    Some(_) => again = true,
                    None => start.push(*index),
                }
            }
        }
        let new = listed.into_values().collect();
        Compared { start, new, again }
    }

    /// Why sources have ended whose lines were all given. Those that are no more are forgotten.
    pub(super) fn take_ends(&mut self) -> Vec<(u32, Label, SourceEnd)> {
        let mut ends = Vec::new();
        for (index, source) in &mut self.all {
            if source.phase == Phase::Idle
                && source.queue.is_empty()
                && let Some(mut end) = source.ended.take()
            {
                if source.removed {
                    end = SourceEnd::Removed;
                }
                source.told = Some(end.clone());
                ends.push((*index, source.label.clone(), end));
            }
        }
        self.all
            .retain(|_, source| source.told != Some(SourceEnd::Removed));
        ends
    }

    /// The lines whose turn it is.
    pub(super) fn give(&mut self, now: Instant) -> Vec<(u32, Line)> {
        let mut heads = BinaryHeap::new();
        let (mut live, mut stored) = (0, false);
        for (index, source) in &self.all {
            match (source.queue.front(), source.phase) {
                (None, Phase::Stored) => return Vec::new(),
                (Some(line), _) => heads.push(Reverse((line.time, *index))),
                (None, _) => {}
            }
            live += usize::from(source.phase == Phase::Live);
            stored |= source.phase == Phase::Stored;
        }
        // Nobody is waited for where there is only one, or none any more.
        let early = self.due.is_some_and(|due| now < due);
        if !stored && live > 1 && early && self.has_room() {
            return Vec::new();
        }
        let (mut lines, mut size) = (Vec::new(), 0);
        'full: while let Some(Reverse((_, index))) = heads.pop() {
            let Some(source) = self.all.get_mut(&index) else {
                break;
            };
            let turn = heads.peek().map(|next| next.0);
            while let Some(line) = source.give() {
                let cost = line.content.len() + OVERHEAD;
                (size, self.held) = (size + cost, self.held.saturating_sub(cost));
                lines.push((index, line));
                if size >= FULL {
                    break 'full;
                }
                match source.queue.front().map(|next| (next.time, index)) {
                    Some(next) if turn.is_some_and(|turn| next > turn) => {
                        heads.push(Reverse(next));
                        break;
                    }
                    // The one that all others wait for.
                    None if source.phase == Phase::Stored => break 'full,
                    _ => {}
                }
            }
        }
        if self.held == 0 {
            self.due = None;
        }
        lines
    }
}

#[cfg(test)]
#[path = "sources_test.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
