//! What has arrived of a body, and how far its sender may go.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};

use super::Violation;
use crate::FIRST_WINDOW;

/// The receiver credits each time that so much was taken, however large the window has grown: what
/// the sender keeps, and how long a cut makes it send again, depends on that.
const CREDIT_EVERY: u64 = FIRST_WINDOW / 2;
/// Pieces below this size are gathered while they wait: each costs more than it holds.
const SMALL: usize = 1024;
/// A round trip is taken for no shorter than this: on one machine it is the consumer's turn on the
/// processor that takes time.
const SHORTEST_ROUND_TRIP: Duration = Duration::from_millis(1);

/// A body on its way in.
#[derive(Debug)]
pub(crate) struct RecvBody {
    received: u64,
    taken: u64,
    granted: u64,
    window: u64,
    max_window: u64,
    chunks: VecDeque<Bytes>,
    /// Small pieces that came after `chunks`.
    tail: BytesMut,
    complete: bool,
}

impl RecvBody {
    pub(crate) fn new(window: u64, max_window: u64) -> Self {
        Self {
            received: 0,
            taken: 0,
            granted: window,
            window,
            max_window,
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
            complete: false,
        }
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn granted(&self) -> u64 {
        self.granted
    }

    /// How large the window is now.
    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Everything has arrived and was taken.
    pub(crate) fn is_drained(&self) -> bool {
        self.complete && self.chunks.is_empty() && self.tail.is_empty()
    }

    /// Accepts a piece. What had arrived before is dropped without harm.
    pub(crate) fn accept(&mut self, offset: u64, mut body: Bytes) -> Result<(), Violation> {
        let Some(end) = offset.checked_add(body.len() as u64) else {
            return Err(Violation::BadOffset);
        };
        if offset > self.received {
            return Err(Violation::Gap);
        }
        if end > self.granted {
            return Err(Violation::PastLimit);
        }
        if end <= self.received {
            return Ok(());
        }
        if self.complete {
            return Err(Violation::BadOffset);
        }
        let body = body.split_off((self.received - offset) as usize);
        self.received = end;
        let waits = !self.chunks.is_empty() || !self.tail.is_empty();
        if waits && body.len() < SMALL {
            self.tail.extend_from_slice(&body);
        } else {
            if !self.tail.is_empty() {
                self.chunks.push_back(self.tail.split().freeze());
            }
            self.chunks.push_back(body);
        }
        Ok(())
    }

    /// Says that the body ends at this offset.
    pub(crate) fn complete_at(&mut self, offset: u64) -> Result<(), Violation> {
        if offset != self.received {
            return Err(Violation::Gap);
        }
        self.complete = true;
        Ok(())
    }

    /// Hands the next piece to the consumer.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let chunk = match self.chunks.pop_front() {
            Some(chunk) => chunk,
            None if self.tail.is_empty() => return None,
            None => self.tail.split().freeze(),
        };
        self.taken += chunk.len() as u64;
        Some(chunk)
    }

    /// Drops what is queued and counts it as taken: nobody reads this body.
    pub(crate) fn discard(&mut self) {
        self.chunks.clear();
        self.tail.clear();
        self.taken = self.received;
    }

    /// Returns the new limit when a credit is due. The window doubles while the sender waits for
    /// credit: while more than a fourth of it is taken in a round trip. `grow_by` says how much of that is granted.
    pub(crate) fn grant(
        &mut self,
        since_last: Duration,
        round_trip: Duration,
        grow_by: impl FnOnce(u64) -> u64,
    ) -> Option<u64> {
        if !self.grant_due() {
            return None;
        }
        let round_trip = round_trip.max(SHORTEST_ROUND_TRIP);
        let (step, window) = (self.step() as f64, self.window as f64);
        let keeps_up = since_last.as_secs_f64() * window < round_trip.as_secs_f64() * 4.0 * step;
        if keeps_up && self.window < self.max_window {
            let more = self.window.min(self.max_window - self.window);
            self.window += grow_by(more).min(more);
        }
        self.granted = self.taken + self.window;
        Some(self.granted)
    }

    /// So much was taken since the last credit that the next one is due.
    pub(crate) fn grant_due(&self) -> bool {
        !self.complete && (self.taken + self.window).saturating_sub(self.granted) >= self.step()
    }

    fn step(&self) -> u64 {
        (self.window / 2).min(CREDIT_EVERY)
    }
}
