//! Which frame is next: deficit round robin (Shreedhar and Varghese, 1995) within two classes.

use std::{
    collections::{HashMap, VecDeque},
    task::Waker,
};

use super::{LITTLE, OVERHEAD, PACKET};
use crate::{ending::Closing, frames::OutFrame, proto::CallClass};

/// What a call may send in one turn.
const QUANTUM: usize = 32 * 1024;

pub(super) type Key = (u32, u32);

#[derive(Default)]
pub(super) struct State {
    pub(super) first: VecDeque<(u32, OutFrame)>,
    /// Sent with the next packet of the slot, never alone.
    pub(super) riders: VecDeque<(u32, OutFrame)>,
    pub(super) flows: HashMap<Key, Flow>,
    pub(super) interactive: VecDeque<Key>,
    pub(super) bulk: VecDeque<Key>,
    pub(super) relayed: HashMap<u32, usize>,
    pub(super) closing: Option<Closing>,
    pub(super) closed: bool,
}

pub(super) struct Flow {
    pub(super) class: CallClass,
    pub(super) queue: VecDeque<OutFrame>,
    /// Bytes in `queue`.
    pub(super) queued: usize,
    pub(super) deficit: usize,
    /// Waits for less to be queued.
    pub(super) waiting: Option<Waker>,
}

impl Flow {
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.queued = 0;
        self.wake();
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

impl State {
    pub(super) fn queue(&mut self, key: Key, class: CallClass, frame: OutFrame) {
        let flow = self.flows.entry(key).or_insert_with(|| Flow {
            class,
            queue: VecDeque::new(),
            queued: 0,
            deficit: 0,
            waiting: None,
        });
        if class == CallClass::Bulk {
            // What a relay told apart only now; the flow changes its ring at its next turn.
            flow.class = class;
        }
        if flow.queue.is_empty() && flow.deficit == 0 {
            flow.deficit = QUANTUM;
            flow.class = class;
            match class {
                CallClass::Bulk => self.bulk.push_back(key),
                CallClass::Interactive | CallClass::Unspecified => self.interactive.push_back(key),
            }
        }
        flow.queued += frame.encoded_len();
        flow.queue.push_back(frame);
    }

    /// Begins a packet with whatever is most urgent.
    pub(super) fn first_packet(&mut self) -> Option<(u32, Vec<OutFrame>, usize)> {
        if let Some((slot, frame)) = self.first.pop_front() {
            let mut size = frame.encoded_len();
            let mut frames = vec![frame];
            while size < PACKET && self.first.front().is_some_and(|(next, _)| *next == slot) {
                if let Some((_, frame)) = self.first.pop_front() {
                    size += frame.encoded_len();
                    frames.push(frame);
                }
            }
            return Some((slot, frames, size));
        }
        if self.closing.is_some() {
            return None;
        }
        loop {
            let (slot, _) = *self.interactive.front().or_else(|| self.bulk.front())?;
            if let Some(frame) = self.next_of(slot) {
                let size = frame.encoded_len();
                return Some((slot, vec![frame], size));
            }
        }
    }

    /// Takes the next call frame in turn, if it is of this slot.
    pub(super) fn next_of(&mut self, slot: u32) -> Option<OutFrame> {
        loop {
            let bulk = self.interactive.is_empty();
            let ring = if bulk {
                &mut self.bulk
            } else {
                &mut self.interactive
            };
            let key = *ring.front()?;
            if key.0 != slot {
                return None;
            }
            let Some(flow) = self.flows.get_mut(&key) else {
                ring.pop_front();
                continue;
            };
            let Some(frame) = flow.queue.pop_front() else {
                ring.pop_front();
                self.flows.remove(&key);
                continue;
            };
            let size = frame.encoded_len();
            if let Some(queued) = self.relayed.get_mut(&slot) {
                *queued = queued.saturating_sub(size + OVERHEAD);
                if *queued == 0 {
                    self.relayed.remove(&slot);
                }
            }
            flow.queued = flow.queued.saturating_sub(size);
            if flow.queued <= LITTLE {
                flow.wake();
            }
            if flow.queue.is_empty() {
                ring.pop_front();
                self.flows.remove(&key);
            } else if !bulk && flow.class == CallClass::Bulk {
                ring.pop_front();
                flow.deficit = QUANTUM;
                self.bulk.push_back(key);
            } else if size >= flow.deficit {
                // Its turn is over; the next one begins with what it did not use.
                flow.deficit = QUANTUM;
                ring.rotate_left(1);
            } else {
                flow.deficit -= size;
            }
            return Some(frame);
        }
    }

    pub(super) fn ride(&mut self, slot: u32, frames: &mut Vec<OutFrame>) {
        if !self.riders.is_empty() {
            let (mine, others) = std::mem::take(&mut self.riders)
                .into_iter()
                .partition(|(rider, _)| *rider == slot);
            self.riders = others;
            let mine: VecDeque<(u32, OutFrame)> = mine;
            frames.extend(mine.into_iter().map(|(_, frame)| frame));
        }
    }
}
