//! What a link has to send, and in which order.
//!
//! One queue per call and three ranks: frames of the connection and credits first, then interactive
//! calls, then bulk calls; within a rank the calls take turns by deficit round robin. What is queued for
//! one call keeps its order. How much is queued is bounded by the calls' credit, and for relayed
//! frames by [`MAX_RELAYED`].

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

use atomic_waker::AtomicWaker;

use crate::{MAX_BODY_FRAME, frames::OutFrame, link::Closing, proto::CallClass, sync::lock};

/// What a call may send in one turn.
const QUANTUM: usize = 32 * 1024;
/// A packet is not filled further than this: what comes next may be more urgent.
const PACKET: usize = MAX_BODY_FRAME;
/// What a relay queues for one slot, at most. A peer that keeps to its credit never gets there.
const MAX_RELAYED: usize = 8 * 1024 * 1024;

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

type Key = (u32, u32);

#[derive(Default)]
struct State {
    first: VecDeque<(u32, OutFrame)>,
    /// Sent with the next packet of the slot, never alone.
    riders: VecDeque<(u32, OutFrame)>,
    flows: HashMap<Key, Flow>,
    interactive: VecDeque<Key>,
    bulk: VecDeque<Key>,
    relayed: HashMap<u32, usize>,
    closing: Option<Closing>,
    closed: bool,
}

struct Flow {
    class: CallClass,
    queue: VecDeque<OutFrame>,
    deficit: usize,
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
        *queued += frame.encoded_len();
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
        let untold = state
            .flows
            .get_mut(&(slot, stream))
            .map(|flow| std::mem::take(&mut flow.queue))
            .is_some_and(|queue| queue.front().is_some_and(OutFrame::is_command));
        if !untold {
            state.first.push_back((slot, last));
        }
        drop(state);
        self.waker.wake();
    }

    /// Drops everything that is queued for a slot: its caller is gone.
    pub(crate) fn clear_slot(&self, slot: u32) {
        let mut state = lock(&self.state);
        for (_, flow) in state.flows.iter_mut().filter(|(key, _)| key.0 == slot) {
            flow.queue.clear();
        }
        state.first.retain(|(at, _)| *at != slot);
        state.riders.retain(|(at, _)| *at != slot);
        state.relayed.remove(&slot);
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

impl State {
    fn queue(&mut self, key: Key, class: CallClass, frame: OutFrame) {
        let flow = self.flows.entry(key).or_insert_with(|| Flow {
            class,
            queue: VecDeque::new(),
            deficit: 0,
        });
        if flow.queue.is_empty() && flow.deficit == 0 {
            flow.deficit = QUANTUM;
            flow.class = class;
            match class {
                CallClass::Bulk => self.bulk.push_back(key),
                CallClass::Interactive | CallClass::Unspecified => self.interactive.push_back(key),
            }
        }
        flow.queue.push_back(frame);
    }

    /// Begins a packet with whatever is most urgent.
    fn first_packet(&mut self) -> Option<(u32, Vec<OutFrame>, usize)> {
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
    fn next_of(&mut self, slot: u32) -> Option<OutFrame> {
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
                *queued = queued.saturating_sub(size);
                if *queued == 0 {
                    self.relayed.remove(&slot);
                }
            }
            if flow.queue.is_empty() {
                ring.pop_front();
                self.flows.remove(&key);
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

    fn ride(&mut self, slot: u32, frames: &mut Vec<OutFrame>) {
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::proto::{Credit, Data, Done, frame::Kind};

    fn data(stream: u32, size: usize) -> OutFrame {
        OutFrame::new(
            stream,
            Kind::Data(Data {
                offset: 0,
                body: Bytes::from(vec![0; size]),
                end: false,
            }),
        )
    }

    fn streams(outbox: &Outbox) -> Vec<Vec<u32>> {
        let mut packets = Vec::new();
        while let Next::Packet { frames, .. } = outbox.next() {
            packets.push(frames.iter().map(stream).collect());
        }
        packets
    }

    fn stream(frame: &OutFrame) -> u32 {
        match frame {
            OutFrame::Made(frame) => frame.stream,
            OutFrame::Relayed(_) => 0,
        }
    }

    #[test]
    fn interactive_passes_bulk() {
        let outbox = Outbox::new();
        for _ in 0..4 {
            outbox.push(0, 1, CallClass::Bulk, [data(1, 60_000)]);
        }
        outbox.push(0, 2, CallClass::Interactive, [data(2, 10)]);
        let order = streams(&outbox);
        assert_eq!(order.first().unwrap().first(), Some(&2));
        assert_eq!(order.concat().iter().filter(|s| **s == 1).count(), 4);
    }

    #[test]
    fn calls_of_one_class_take_turns() {
        let outbox = Outbox::new();
        for stream in [1, 2] {
            outbox.push(
                0,
                stream,
                CallClass::Bulk,
                (0..20).map(|_| data(stream, 8_000)),
            );
        }
        let order = streams(&outbox).concat();
        let first_half = order.iter().take(20).filter(|s| **s == 1).count();
        assert!((8..=12).contains(&first_half), "{order:?}");
    }

    #[test]
    fn riders_wait_for_a_packet_of_their_slot() {
        let outbox = Outbox::new();
        outbox.push_rider(3, OutFrame::new(1, Kind::Done(Done {})));
        assert!(matches!(outbox.next(), Next::Nothing));
        outbox.push_first(4, OutFrame::new(9, Kind::Credit(Credit::default())));
        outbox.push_first(3, OutFrame::new(2, Kind::Credit(Credit::default())));
        assert_eq!(streams(&outbox), [vec![9], vec![2, 1]]);
    }

    #[test]
    fn a_call_that_was_never_told_of_needs_no_reset() {
        let outbox = Outbox::new();
        let command = OutFrame::new(1, Kind::Command(Default::default()));
        outbox.push(0, 1, CallClass::Interactive, [command]);
        outbox.reset(0, 1, OutFrame::new(1, Kind::Reset(Default::default())));
        assert!(matches!(outbox.next(), Next::Nothing));
        outbox.push(0, 2, CallClass::Interactive, [data(2, 1)]);
        outbox.reset(0, 2, OutFrame::new(2, Kind::Reset(Default::default())));
        assert_eq!(streams(&outbox), [vec![2]]);
    }

    #[test]
    fn what_is_relayed_is_bounded() {
        let outbox = Outbox::new();
        let frame = OutFrame::Relayed(Bytes::from(vec![0; 1024 * 1024]));
        let pushed = (0..20)
            .take_while(|_| {
                outbox
                    .push_relayed(1, 1, CallClass::Bulk, frame.clone())
                    .is_ok()
            })
            .count();
        assert_eq!(pushed, 8);
        while let Next::Packet { .. } = outbox.next() {}
        assert_eq!(outbox.push_relayed(1, 1, CallClass::Bulk, frame), Ok(()));
    }
}
