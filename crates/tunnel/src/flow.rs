//! Flow control of one direction of one call: pure, without clock, lock or I/O.
//!
//! Offsets are absolute positions in the body. The sender keeps every byte until the receiver has
//! credited it, so that the body can go on over another link:
//!
//! ```text
//! sender      base ───── sent ───── end        limit: how far it may send
//!               kept bytes
//! receiver    taken ──── received ──── granted
//!               queued bytes
//! ```

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

/// How a peer broke the rules of flow control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// It sent past its limit.
    #[error("the peer sent more than its credit")]
    PastLimit,
    /// Bytes are missing between what it sent and what had arrived.
    #[error("bytes are missing before this frame")]
    Gap,
    /// It credited bytes that were never sent, or asked for bytes that it had credited.
    #[error("the peer named an offset that is out of range")]
    BadOffset,
}

/// A body on its way out.
#[derive(Debug)]
pub(crate) struct SendBody {
    base: u64,
    sent: u64,
    end: u64,
    limit: u64,
    chunks: VecDeque<Bytes>,
    /// Index of the chunk that holds `sent`, and the position in it.
    cursor: (usize, usize),
    complete: bool,
}

impl SendBody {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            base: 0,
            sent: 0,
            end: 0,
            limit,
            chunks: VecDeque::new(),
            cursor: (0, 0),
            complete: false,
        }
    }

    /// Takes more of the body.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.end += chunk.len() as u64;
            self.chunks.push_back(chunk);
        }
    }

    /// Says that the body is whole.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// The body is whole and all of it has been sent on this link.
    pub(crate) fn is_all_sent(&self) -> bool {
        self.complete && self.sent == self.end
    }

    /// There is credit beyond what was taken: more of the body is of use.
    pub(crate) fn wants_more(&self) -> bool {
        !self.complete && self.end < self.limit
    }

    /// Bytes that are kept until they are credited.
    pub(crate) fn kept(&self) -> usize {
        (self.end - self.base) as usize
    }

    /// The first byte that is still kept.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// The offset of the next byte to send.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes that could be sent now.
    pub(crate) fn sendable(&self) -> u64 {
        self.end.min(self.limit).saturating_sub(self.sent)
    }

    /// Returns the next piece to send, `max` bytes at most.
    pub(crate) fn next(&mut self, max: usize) -> Option<(u64, Bytes)> {
        let room = (self.sendable() as usize).min(max);
        if room == 0 {
            return None;
        }
        let (index, position) = self.cursor;
        let chunk = self.chunks.get(index)?;
        let take = (chunk.len() - position).min(room);
        let piece = chunk.slice(position..position + take);
        self.cursor = if position + take == chunk.len() {
            (index + 1, 0)
        } else {
            (index, position + take)
        };
        let offset = self.sent;
        self.sent += take as u64;
        Some((offset, piece))
    }

    /// Forgets what the peer has received, and raises the limit. After a cut the peer may have received
    /// more than was sent on this link; that is not sent again.
    pub(crate) fn credit(&mut self, received: u64, limit: u64) -> Result<(), Violation> {
        if received > self.end {
            return Err(Violation::BadOffset);
        }
        self.limit = self.limit.max(limit);
        if received > self.sent {
            self.move_to(received);
        } else {
            self.forget(received);
        }
        Ok(())
    }

    /// Begins again at the offset that the peer has reached, with the peer's limit.
    pub(crate) fn rewind(&mut self, received: u64, limit: u64) -> Result<(), Violation> {
        if received < self.base || received > self.end {
            return Err(Violation::BadOffset);
        }
        self.limit = limit;
        self.move_to(received);
        Ok(())
    }

    /// Forgets what is before this offset, which is not before `base`, and sends from there.
    fn move_to(&mut self, received: u64) {
        self.sent = received;
        self.forget(received);
        self.cursor = (0, (received - self.base) as usize);
    }

    fn forget(&mut self, received: u64) {
        while let Some(front) = self.chunks.front() {
            let next = self.base + front.len() as u64;
            if next > received {
                break;
            }
            self.base = next;
            self.chunks.pop_front();
            self.cursor.0 = self.cursor.0.saturating_sub(1);
        }
    }
}

/// A body on its way in.
#[derive(Debug)]
pub(crate) struct RecvBody {
    received: u64,
    taken: u64,
    granted: u64,
    window: u64,
    max_window: u64,
    chunks: VecDeque<Bytes>,
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
            complete: false,
        }
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn granted(&self) -> u64 {
        self.granted
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Everything has arrived and was taken.
    pub(crate) fn is_drained(&self) -> bool {
        self.complete && self.chunks.is_empty()
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
        self.chunks.push_back(body);
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
        let chunk = self.chunks.pop_front()?;
        self.taken += chunk.len() as u64;
        Some(chunk)
    }

    /// Drops what is queued and counts it as taken: nobody reads this body.
    pub(crate) fn discard(&mut self) {
        self.chunks.clear();
        self.taken = self.received;
    }

    /// Returns the new limit when half a window has been taken since the last one. The window
    /// doubles when that took less than two round trips: the sender was waiting for credit.
    pub(crate) fn grant(&mut self, since_last: Duration, round_trip: Duration) -> Option<u64> {
        if !self.grant_due() {
            return None;
        }
        if since_last < round_trip * 2 {
            self.window = (self.window * 2).min(self.max_window);
        }
        self.granted = self.taken + self.window;
        Some(self.granted)
    }

    /// Half a window has been taken since the last grant.
    pub(crate) fn grant_due(&self) -> bool {
        !self.complete && (self.taken + self.window).saturating_sub(self.granted) >= self.window / 2
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RTT: Duration = Duration::from_millis(1);

    #[test]
    fn a_message_larger_than_a_window_passes() {
        let mut send = SendBody::new(16);
        let mut recv = RecvBody::new(16, 64);
        send.push(Bytes::from(vec![7; 1000]));
        send.complete();
        let mut got = 0;
        while !send.is_all_sent() || !recv.is_drained() {
            while let Some((offset, piece)) = send.next(10) {
                recv.accept(offset, piece).unwrap();
            }
            if send.is_all_sent() && !recv.is_complete() {
                recv.complete_at(send.sent()).unwrap();
            }
            while let Some(piece) = recv.take() {
                got += piece.len();
            }
            if let Some(limit) = recv.grant(RTT, RTT) {
                send.credit(recv.received(), limit).unwrap();
            }
        }
        assert_eq!(got, 1000);
    }

    #[test]
    fn a_reader_that_stops_costs_its_first_window() {
        let mut send = SendBody::new(256);
        let recv = RecvBody::new(256, 4096);
        send.push(Bytes::from(vec![0; 10_000]));
        let mut sent = 0;
        while let Some((_, piece)) = send.next(100) {
            sent += piece.len();
        }
        assert_eq!(sent, 256);
        assert!(!recv.grant_due());
    }

    #[test]
    fn violations_are_told() {
        let mut recv = RecvBody::new(8, 8);
        assert_eq!(
            recv.accept(1, Bytes::from_static(b"x")),
            Err(Violation::Gap)
        );
        assert_eq!(
            recv.accept(0, Bytes::from_static(b"123456789")),
            Err(Violation::PastLimit)
        );
        assert_eq!(
            recv.accept(u64::MAX, Bytes::from_static(b"12")),
            Err(Violation::BadOffset)
        );
        let mut send = SendBody::new(8);
        send.push(Bytes::from_static(b"abc"));
        assert_eq!(send.credit(4, 9), Err(Violation::BadOffset));
        assert_eq!(send.rewind(4, 9), Err(Violation::BadOffset));
    }

    proptest! {
        /// Whatever is cut and wherever, the receiver ends with exactly the bytes sent.
        #[test]
        fn cuts_lose_and_repeat_nothing(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..30),
            steps in prop::collection::vec((1usize..40, any::<bool>(), any::<bool>()), 1..400),
        ) {
            let all: Vec<u8> = chunks.concat();
            let mut send = SendBody::new(32);
            let mut recv = RecvBody::new(32, 128);
            let mut chunks = chunks.into_iter();
            let mut got = Vec::new();
            // A link that loses every frame for ever delivers nothing: in the end it holds.
            let mut steps = steps.into_iter().chain(std::iter::repeat_n((32, false, false), 20_000));
            while got.len() < all.len() {
                let Some((max, cut, lose)) = steps.next() else { break };
                if send.wants_more() {
                    match chunks.next() {
                        Some(chunk) => send.push(chunk.into()),
                        None => send.complete(),
                    }
                }
                if let Some((offset, piece)) = send.next(max) {
                    if !lose || !cut {
                        recv.accept(offset, piece).unwrap();
                    }
                    if cut {
                        send.rewind(recv.received(), recv.granted()).unwrap();
                    }
                }
                if let Some(piece) = recv.take() {
                    got.extend_from_slice(&piece);
                }
                if let Some(limit) = recv.grant(RTT, RTT) {
                    send.credit(recv.received(), limit).unwrap();
                }
                prop_assert!(send.kept() <= 128 + 50 + 50);
            }
            prop_assert_eq!(got, all);
        }
    }
}
