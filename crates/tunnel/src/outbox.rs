//! What a link has to send, and in which order.
//!
//! One queue per call and three ranks: frames of the connection and credits first, then interactive
//! calls, then bulk calls; within a rank the calls take turns by deficit round robin. What is queued for
//! one call keeps its order. How much is queued is bounded by the calls' credit, and for relayed
//! frames by [`MAX_RELAYED`].

mod schedule;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

use atomic_waker::AtomicWaker;

use schedule::State;

use crate::{
    MAX_BODY_FRAME,
    ending::{CloseCode, Closing},
    frames::OutFrame,
    proto::CallClass,
    sync::lock,
};

/// A packet is not filled further than this: what comes next may be more urgent.
const PACKET: usize = MAX_BODY_FRAME;
/// When so much of one call is queued, its handler waits ...
const ENOUGH: usize = 2 * MAX_BODY_FRAME;
/// ... until no more than this is left.
const LITTLE: usize = MAX_BODY_FRAME;
/// What a relay queues for one slot, at most. A peer that keeps to its credit does not get there: its
/// windows grow by 16 MiB in all.
const MAX_RELAYED: usize = 32 * 1024 * 1024;
/// What a queued frame costs beside its bytes.
const OVERHEAD: usize = 64;
/// Credits, resets and frames of the connection that wait, at most. A peer that reads never gets there.
const MAX_FIRST: usize = 16 * 1024;

/// The peer of a relayed link takes less than it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// The sending side of one link. Closed for good when the link ends.
pub(crate) struct Outbox {
    state: Mutex<State>,
    waker: AtomicWaker,
    /// The shortest round trip seen lately, in nanoseconds.
    round_trip: AtomicU64,
}

/// What the link does next.
pub(crate) enum Next {
    Packet { slot: u32, frames: Vec<OutFrame> },
    Close(Closing),
    Nothing,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State::default()),
            waker: AtomicWaker::new(),
            round_trip: AtomicU64::new(u64::MAX),
        }
    }

    /// Takes note of a round trip over this link. Short ones count at once, long ones slowly: they
    /// may have waited for something else.
    pub(crate) fn observe_round_trip(&self, seen: Duration) {
        let seen = u64::try_from(seen.as_nanos()).unwrap_or(u64::MAX);
        let known = self.round_trip.load(Ordering::Relaxed);
        let next = if seen <= known {
            seen
        } else {
            known + (seen - known) / 16
        };
        self.round_trip.store(next, Ordering::Relaxed);
    }

    /// The shortest round trip seen lately; none before the first.
    pub(crate) fn round_trip(&self) -> Duration {
        match self.round_trip.load(Ordering::Relaxed) {
            u64::MAX => Duration::ZERO,
            nanos => Duration::from_nanos(nanos),
        }
    }

    /// Queues a frame of the connection, or a credit: before everything else.
    pub(crate) fn push_first(&self, slot: u32, frame: OutFrame) {
        let mut state = lock(&self.state);
        if !state.closed {
            state.first.push_back((slot, frame));
            if state.first.len() > MAX_FIRST {
                state.closing.get_or_insert_with(overloaded);
            }
            drop(state);
            self.waker.wake();
        }
    }

    /// Queues a frame that goes with the next packet of its slot.
    pub(crate) fn push_rider(&self, slot: u32, frame: OutFrame) {
        let mut state = lock(&self.state);
        if !state.closed {
            state.riders.push_back((slot, frame));
        }
    }

    /// Queues frames of one call.
    pub(crate) fn push(
        &self,
        slot: u32,
        stream: u32,
        class: CallClass,
        frames: impl IntoIterator<Item = OutFrame>,
    ) {
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        for frame in frames {
            state.queue((slot, stream), class, frame);
        }
        drop(state);
        self.waker.wake();
    }

    /// Queues a relayed frame of one call, within bounds.
    pub(crate) fn push_relayed(
        &self,
        slot: u32,
        stream: u32,
        class: CallClass,
        frame: OutFrame,
    ) -> Result<(), Overflow> {
        let mut state = lock(&self.state);
        if state.closed {
            return Ok(());
        }
        let queued = state.relayed.entry(slot).or_default();
        *queued += frame.encoded_len() + OVERHEAD;
        if *queued > MAX_RELAYED {
            return Err(Overflow);
        }
        state.queue((slot, stream), class, frame);
        drop(state);
        self.waker.wake();
        Ok(())
    }

    /// Drops what is queued for a call, and queues its last frame, unless the call was never told of.
    pub(crate) fn reset(&self, slot: u32, stream: u32, last: OutFrame) {
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        let untold = state.flows.get_mut(&(slot, stream)).is_some_and(|flow| {
            let untold = flow.queue.front().is_some_and(OutFrame::opens_a_call);
            flow.clear();
            untold
        });
        if !untold {
            state.first.push_back((slot, last));
        }
        drop(state);
        self.waker.wake();
    }

    /// Tells whether the link asks for more of a call; if not, wakes when it does.
    pub(crate) fn has_room(&self, slot: u32, stream: u32, waker: &Waker) -> bool {
        match lock(&self.state).flows.get_mut(&(slot, stream)) {
            Some(flow) if flow.queued >= ENOUGH => {
                flow.waiting = Some(waker.clone());
                false
            }
            Some(_) | None => true,
        }
    }

    /// Drops what is queued for a call: it goes on elsewhere, or nobody wants it.
    pub(crate) fn clear_call(&self, slot: u32, stream: u32) {
        if let Some(flow) = lock(&self.state).flows.get_mut(&(slot, stream)) {
            flow.clear();
        }
    }

    /// Drops everything that is queued for a slot: its caller is gone.
    pub(crate) fn clear_slot(&self, slot: u32) {
        let mut state = lock(&self.state);
        for (_, flow) in state.flows.iter_mut().filter(|(key, _)| key.0 == slot) {
            flow.clear();
        }
        state.first.retain(|(at, _)| *at != slot);
        state.riders.retain(|(at, _)| *at != slot);
        state.relayed.remove(&slot);
    }

    /// Tells whether the link was asked to end.
    pub(crate) fn is_closing(&self) -> Option<Closing> {
        lock(&self.state).closing.clone()
    }

    /// Asks the link to end with a close frame, after what is in `first`.
    pub(crate) fn close(&self, closing: Closing) {
        let mut state = lock(&self.state);
        if !state.closed && state.closing.is_none() {
            state.closing = Some(closing);
            drop(state);
            self.waker.wake();
        }
    }

    /// The link is gone: nothing is taken any more.
    pub(crate) fn shut(&self) {
        let mut state = lock(&self.state);
        for flow in state.flows.values_mut() {
            flow.wake();
        }
        *state = State {
            closed: true,
            ..State::default()
        };
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Takes the next packet: frames of one slot, in order of rank.
    pub(crate) fn next(&self) -> Next {
        let mut state = lock(&self.state);
        let Some((slot, mut frames, mut size)) = state.first_packet() else {
            return match state.closing.take() {
                Some(closing) => Next::Close(closing),
                None => Next::Nothing,
            };
        };
        while size < PACKET {
            let Some(frame) = state.next_of(slot) else {
                break;
            };
            size += frame.encoded_len();
            frames.push(frame);
        }
        state.ride(slot, &mut frames);
        Next::Packet { slot, frames }
    }
}

/// Ends a link whose peer asks for more than it takes.
pub(crate) fn overloaded() -> Closing {
    Closing::new(CloseCode::Overloaded, "too much is queued for this link")
}

#[cfg(test)]
mod tests;
