//! Counts what the agent has been asked, whichever way it came. The router counts, `/metrics` tells.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The counts. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    calls: AtomicU64,
    running: AtomicU64,
    streams: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

/// A call that runs. It is counted off when this is dropped.
#[derive(Debug)]
pub struct Running {
    tally: Tally,
    answers: bool,
}

impl Tally {
    /// A call has begun.
    pub fn begin(&self) -> Running {
        self.0.calls.fetch_add(1, Relaxed);
        self.0.running.fetch_add(1, Relaxed);
        Running {
            tally: self.clone(),
            answers: false,
        }
    }

    /// So many bytes of a request came.
    pub fn received(&self, bytes: usize) {
        self.0.received.fetch_add(bytes as u64, Relaxed);
    }

    /// So many bytes of an answer went.
    pub fn sent(&self, bytes: usize) {
        self.0.sent.fetch_add(bytes as u64, Relaxed);
    }

    /// Calls since the start.
    pub fn calls(&self) -> u64 {
        self.0.calls.load(Relaxed)
    }

    /// Calls that run.
    pub fn running(&self) -> u64 {
        self.0.running.load(Relaxed)
    }

    /// Those of them that have begun to answer.
    pub fn streams(&self) -> u64 {
        self.0.streams.load(Relaxed)
    }

    /// Bytes of requests since the start, gRPC's framing included.
    pub fn received_bytes(&self) -> u64 {
        self.0.received.load(Relaxed)
    }

    /// Bytes of answers since the start, gRPC's framing included.
    pub fn sent_bytes(&self) -> u64 {
        self.0.sent.load(Relaxed)
    }
}

impl Running {
    /// Its answer has begun.
    pub fn answers(&mut self) {
        if !std::mem::replace(&mut self.answers, true) {
            self.tally.0.streams.fetch_add(1, Relaxed);
        }
    }

    /// The counts.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tally.0.running.fetch_sub(1, Relaxed);
        if self.answers {
            self.tally.0.streams.fetch_sub(1, Relaxed);
        }
    }
}
