//! One of the containers whose logs are merged: what was read of it, and what of that was given.

use std::collections::VecDeque;

use super::{
    container::{Container, PROJECT, SERVICE},
    lines::Line,
    names::ContainerRef,
    position::Position,
    reader::{Reader, Reading},
};

/// A label's value beyond this is none of a compose project's.
const MAX_LABEL: usize = 255;

/// How far the reading of a container's log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// What was stored when the call began is read: others wait for it.
    Stored,
    /// What comes is read: nobody waits for it.
    Live,
    /// Nothing is read.
    Idle,
}

/// Why no more lines of a container come, for now or for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEnd {
    /// It has ended. When it is started again, it is followed again.
    Ended,
    /// It was removed.
    Removed,
    /// Its log cannot be read, in the words of an error.
    Unreadable(String),
}

/// Says which container lines are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The full id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The compose project that it belongs to. Empty: none.
    pub project: String,
    /// The service in that project. Empty: none.
    pub service: String,
}

impl From<&Container> for Label {
    fn from(container: &Container) -> Self {
        let label = |name: &str| {
            let value = container
                .labels
                .get(name)
                .filter(|value| value.len() <= MAX_LABEL);
            value.cloned().unwrap_or_default()
        };
        Self {
            id: container.id.clone(),
            name: container.name.clone(),
            project: label(PROJECT),
            service: label(SERVICE),
        }
    }
}

/// A container.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) id: ContainerRef,
    pub(super) label: Label,
    pub(super) runs: bool,
    /// Something has happened to it since its reading began: it may have run and ended meanwhile.
    pub(super) touched: bool,
    /// It is no more.
    pub(super) removed: bool,
    pub(super) phase: Phase,
    /// What was read and not given.
    pub(super) queue: VecDeque<Line>,
    pub(super) bytes: usize,
    /// Behind what was given and is settled.
    pub(super) given: Position,
    /// Behind what was read.
    pub(super) read: Position,
    /// What reads on, when nothing is being read.
    pub(super) parked: Option<Box<Reader>>,
    /// What was read behind a gap, which is told when the queue is empty.
    pub(super) held: Option<Reading>,
    /// To be told when the queue is empty.
    pub(super) ended: Option<SourceEnd>,
    /// What was told last.
    pub(super) told: Option<SourceEnd>,
}

/// What a line costs beside its content.
pub(super) const OVERHEAD: usize = 64;

impl Source {
    pub(super) fn new(id: ContainerRef, container: &Container, place: Position) -> Self {
        Self {
            id,
            label: container.into(),
            runs: container.runs(),
            touched: false,
            removed: false,
            phase: Phase::Idle,
            queue: VecDeque::new(),
            bytes: 0,
            read: place.clone(),
            given: place,
            parked: None,
            held: None,
            ended: None,
            told: None,
        }
    }

    /// Takes lines that were read.
    pub(super) fn take(&mut self, lines: Vec<Line>) -> usize {
        let before = self.bytes;
        if !lines.is_empty() {
            self.told = None;
        }
        for line in &lines {
            self.read.push(line);
            self.bytes += line.content.len() + OVERHEAD;
        }
        if self.queue.is_empty() {
            self.queue = lines.into();
        } else {
            self.queue.extend(lines);
        }
        self.bytes - before
    }

    /// Gives the next line.
    pub(super) fn give(&mut self) -> Option<Line> {
        let line = self.queue.pop_front()?;
        self.bytes = self.bytes.saturating_sub(line.content.len() + OVERHEAD);
        if self.queue.is_empty() {
            // The room of a burst is not kept.
            self.queue = VecDeque::new();
        }
        Some(line)
    }
}
