//! When to ping, and when the peer has been silent for too long. Knows the clock, and no socket.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::{ending::EndReason, link::Side, socket::Instance};

/// The dialling end sends `ping` this often, give or take a tenth.
const PING_EVERY: Duration = Duration::from_secs(15);
/// Without a byte for so long after a ping, the link is dead.
const PONG_WITHIN: Duration = Duration::from_secs(8);
/// Either end takes the link for dead after so long without a byte.
const SILENT_FOR: Duration = Duration::from_secs(25);
/// How often the dialling end looks whether the machine was asleep.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Knows when to ping, and when the peer has been silent for too long.
pub(crate) struct Liveness {
    side: Side,
    read: u64,
    last_heard: Instant,
    next_ping: Instant,
    ping_due: bool,
    pinged: Option<Instant>,
    looked: (Instant, SystemTime),
}

impl Liveness {
    pub(crate) fn new(side: Side, read: u64) -> Self {
        let now = Instant::now();
        Self {
            side,
            read,
            last_heard: now,
            next_ping: now,
            ping_due: false,
            pinged: None,
            looked: (now, SystemTime::now()),
        }
    }

    pub(crate) fn heard(&mut self, read: u64) {
        if read != self.read {
            self.read = read;
            self.last_heard = Instant::now();
        }
    }

    /// A pong arrived: how long it took.
    pub(crate) fn ponged(&mut self) -> Option<Duration> {
        self.pinged.take().map(|pinged| pinged.elapsed())
    }

    pub(crate) fn take_ping(&mut self) -> bool {
        let due = std::mem::take(&mut self.ping_due);
        if due {
            self.pinged = Some(Instant::now());
        }
        due
    }

    /// Answers with the next moment to look again.
    pub(crate) fn tick(&mut self) -> Result<Instant, EndReason> {
        let now = Instant::now();
        // Also where a ping waits behind what the peer does not take.
        let dead = self.last_heard + SILENT_FOR;
        if now >= dead {
            return Err(EndReason::Silent);
        }
        if self.side == Side::Answered {
            return Ok(dead);
        }
        if let Some(pinged) = self.pinged {
            if self.last_heard >= pinged {
                self.pinged = None;
            } else if now >= pinged + PONG_WITHIN {
                return Err(EndReason::Silent);
            }
        }
        if now >= self.next_ping || self.slept(now) {
            self.ping_due = true;
            self.next_ping = now + jittered(PING_EVERY);
        }
        let late = self
            .pinged
            .map_or(now + PONG_WITHIN, |pinged| pinged + PONG_WITHIN);
        Ok(self.next_ping.min(late).min(now + LOOK_EVERY).min(dead))
    }

    /// The wall clock ran far ahead of the monotonic one: the machine was asleep.
    fn slept(&mut self, now: Instant) -> bool {
        let wall = SystemTime::now();
        let (last, last_wall) = std::mem::replace(&mut self.looked, (now, wall));
        let walled = wall.duration_since(last_wall).unwrap_or_default();
        walled > now.duration_since(last) + LOOK_EVERY
    }
}

/// Give or take a tenth.
fn jittered(duration: Duration) -> Duration {
    let random = f64::from(Instance::random().as_bytes()[0]) / 255.0;
    duration.mul_f64(0.9 + 0.2 * random)
}
