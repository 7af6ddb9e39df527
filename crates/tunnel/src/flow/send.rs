//! What is kept of a body until its receiver has it.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::Violation;
use crate::MAX_WINDOW;

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
            limit: limit.min(MAX_WINDOW),
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
        // Whatever a peer asks for, no more than the largest window is kept for it.
        self.limit = self
            .limit
            .max(limit.min(received.saturating_add(MAX_WINDOW)));
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
        self.limit = limit.min(received.saturating_add(MAX_WINDOW));
        self.move_to(received);
        Ok(())
    }

    /// Forgets what is before this offset, which is not before `base`, and sends from there.
    fn move_to(&mut self, received: u64) {
        self.sent = received;
        self.forget(received);
        self.cursor = (0, 0);
    }

    fn forget(&mut self, received: u64) {
        while let Some(front) = self.chunks.front_mut() {
            let known = received.saturating_sub(self.base) as usize;
            if known == 0 {
                break;
            }
            if known < front.len() {
                front.advance(known);
                self.base = received;
                if self.cursor.0 == 0 {
                    self.cursor.1 = self.cursor.1.saturating_sub(known);
                }
                break;
            }
            self.base += front.len() as u64;
            self.chunks.pop_front();
            self.cursor = match self.cursor {
                (0, _) => (0, 0),
                (index, position) => (index - 1, position),
            };
        }
    }
}
