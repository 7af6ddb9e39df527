//! What was read of a log file and is not taken apart yet.
//!
//! Lines are slices of it. When all of them are gone by the next read, its memory is read into again, which is
//! still in the processor's cache; else it gets new memory.

use std::mem;

use bytes::{Bytes, BytesMut};

/// The room for a first read, and the most that an idle log holds.
const SMALL: usize = 16 << 10;
/// The room for a read of a busy one. More gains nothing: what is made of it on the way, a message for example, would
/// be more than allocators keep at hand, and fresh memory costs more than the reading.
const LARGE: usize = 64 << 10;

#[derive(Debug)]
enum Memory {
    /// Nobody else's.
    Own(BytesMut),
    /// Lines may be slices of it.
    Shared(Bytes),
}

/// Bytes between reading and taking apart.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Memory,
    start: usize,
    end: usize,
    room: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self {
            memory: Memory::Own(BytesMut::new()),
            start: 0,
            end: 0,
            room: SMALL,
        }
    }
}

impl Buffer {
    /// How much is there.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Forgets what is there.
    pub(super) fn clear(&mut self) {
        self.start = self.end;
    }

    /// Nothing is expected for a while: an idle log costs next to nothing.
    pub(super) fn rest(&mut self) {
        self.room = SMALL;
        if self.len() == 0 {
            *self = Self::default();
        }
    }

    /// Room to read into.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let held = self.len();
        // A record that is longer than the room needs more of it.
        let size = (held + self.room).next_multiple_of(SMALL);
        let range = self.start..self.end;
        let mut memory = match mem::replace(&mut self.memory, Memory::Own(BytesMut::new())) {
            Memory::Own(memory) => memory,
            Memory::Shared(bytes) => match bytes.try_into_mut() {
                Ok(memory) => memory,
                Err(bytes) => {
                    let mut memory = BytesMut::zeroed(size);
                    if let Some(place) = memory.get_mut(..held) {
                        place.copy_from_slice(bytes.get(range.clone()).unwrap_or_default());
                    }
                    (self.start, self.end) = (0, held);
                    memory
                }
            },
        };
        if self.start > 0 {
            memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, held);
        }
        if memory.len() < size {
            memory.resize(size, 0);
        }
        self.memory = Memory::Own(memory);
        match &mut self.memory {
            Memory::Own(memory) => memory.get_mut(held..).unwrap_or_default(),
            Memory::Shared(_) => &mut [],
        }
    }

    /// So much was read into the room.
    pub(super) fn filled(&mut self, read: usize) {
        let left = match &self.memory {
            Memory::Own(memory) => memory.len() - self.end,
            Memory::Shared(_) => 0,
        };
        self.end += read.min(left);
        if read >= left {
            self.room = (self.room * 4).min(LARGE);
        }
    }

    /// All of the memory, and where in it what is there begins and ends.
    pub(super) fn share(&mut self) -> (Bytes, usize, usize) {
        let shared = match mem::replace(&mut self.memory, Memory::Shared(Bytes::new())) {
            Memory::Own(memory) => memory.freeze(),
            Memory::Shared(bytes) => bytes,
        };
        self.memory = Memory::Shared(shared.clone());
        (shared, self.start, self.end)
    }

    /// So much of the front was taken apart.
    pub(super) fn take(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is read and taken, and whoever keeps slices of it: what comes out is what went in.
        #[test]
        fn bytes_pass_through(steps in proptest::collection::vec((0usize..70_000, 0usize..90_000, any::<bool>()), 1..30)) {
            let mut buffer = Buffer::default();
            let (mut next, mut expected) = (0u32, 0u32);
            let mut kept = Vec::new();
            for (read, take, keep) in steps {
                let room = buffer.room();
                let read = read.min(room.len()) / 4 * 4;
                for place in room[..read].chunks_exact_mut(4) {
                    place.copy_from_slice(&next.to_le_bytes());
                    next += 1;
                }
                buffer.filled(read);
                let (bytes, start, end) = buffer.share();
                prop_assert_eq!(end - start, buffer.len());
                let take = take.min(end - start) / 4 * 4;
                let taken = bytes.slice(start..start + take);
                drop(bytes);
                if keep {
                    kept.push((expected, taken.clone()));
                }
                for value in taken.chunks_exact(4) {
                    prop_assert_eq!(value, expected.to_le_bytes());
                    expected += 1;
                }
                buffer.take(take);
                if !keep {
                    kept.clear();
                }
            }
            for (mut value, bytes) in kept {
                for kept in bytes.chunks_exact(4) {
                    prop_assert_eq!(kept, value.to_le_bytes());
                    value += 1;
                }
            }
        }
    }

    #[test]
    fn memory_that_nobody_keeps_is_used_again() {
        let mut buffer = Buffer::default();
        buffer.room();
        buffer.filled(100);
        let (bytes, start, end) = buffer.share();
        let (before, line) = (bytes.as_ptr(), bytes.slice(start..end));
        drop((bytes, line));
        buffer.take(100);
        assert_eq!(buffer.room().as_ptr(), before);
        buffer.filled(10);
        let (bytes, start, end) = buffer.share();
        let line = bytes.slice(start..end);
        drop(bytes);
        buffer.take(10);
        assert_ne!(buffer.room().as_ptr(), before);
        assert_eq!(line.len(), 10);
        buffer.rest();
        assert_eq!(buffer.len(), 0);
    }
}
