//! Reading a busy stream by the clock instead of by event.
//!
//! An engine writes every line of a log by itself, and a reader that is woken for each spends
//! most of its time waking up, and the engine's. As network cards do under load, a stream
//! whose events come thick is taken out of the event loop and looked at every half millisecond,
//! until it is quiet again. What was read is always passed on before; a line of a quiet stream
//! never waits.

use std::{
    io::{self, Read},
    os::fd::OwnedFd,
};

use bytes::BytesMut;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::{
    io::unix::AsyncFd,
    net::{TcpStream, UnixStream},
    time::{Duration, Instant},
};

use super::socket::Socket;

/// The time between two looks. A socket holds some 270 short messages, which an engine
/// writes in 1.5 ms.
const TICK_NANOS: i64 = 500_000;
/// So many reads in a row ...
const BUSY_READS: u32 = 64;
/// ... within this time, make a stream busy ...
const BUSY_WITHIN: Duration = Duration::from_millis(10);
/// ... when none of them was as large as this.
const SMALL: usize = 16 << 10;
/// So many looks in a row that found next to nothing make it quiet.
const QUIET_TICKS: u32 = 8;
/// Next to nothing.
const QUIET: usize = 1 << 10;

/// Tells a busy stream. Pure, but for the time that it is given.
#[derive(Debug, Default)]
pub(super) struct Load {
    reads: u32,
    since: Option<Instant>,
}

impl Load {
    /// Counts a read; true when the stream is busy.
    pub(super) fn read(&mut self, bytes: usize, now: Instant) -> bool {
        if bytes == 0 || bytes >= SMALL {
            *self = Self::default();
            return false;
        }
        let since = *self.since.get_or_insert(now);
        self.reads += 1;
        if self.reads < BUSY_READS {
            return false;
        }
        let busy = now.duration_since(since) <= BUSY_WITHIN;
        *self = Self::default();
        busy
    }
}

/// A socket that is looked at by the clock.
#[derive(Debug)]
pub(super) struct Paced {
    socket: Plain,
    ticks: AsyncFd<OwnedFd>,
    quiet: u32,
}

#[derive(Debug)]
enum Plain {
    Unix(std::os::unix::net::UnixStream),
    Tcp(std::net::TcpStream),
}

/// What a look found.
pub(super) enum Look {
    /// So many bytes; 0 at the end.
    Read(usize),
    /// The stream is quiet again.
    Quiet,
}

impl Paced {
    /// Takes a socket out of the event loop.
    pub(super) fn new(socket: Socket) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: TICK_NANOS,
        };
        let every = Itimerspec {
            it_interval: tick,
            it_value: tick,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
        // Deprecated for types whose descriptor may be closed by others; an OwnedFd is its owner's.
        #[allow(deprecated)]
        let ticks = AsyncFd::new(timer)?;
        Ok(Self {
            ticks,
            socket: match socket {
                Socket::Unix(stream) => Plain::Unix(stream.into_std()?),
                Socket::Tcp(stream) => Plain::Tcp(stream.into_std()?),
            },
            quiet: 0,
        })
    }

    /// Puts the socket back into the event loop.
    pub(super) fn into_socket(self) -> io::Result<Socket> {
        Ok(match self.socket {
            Plain::Unix(stream) => Socket::Unix(UnixStream::from_std(stream)?),
            Plain::Tcp(stream) => Socket::Tcp(TcpStream::from_std(stream)?),
        })
    }

    /// Waits for the next tick at which something is there, and reads it. Cancel-safe.
    pub(super) async fn read_buf(&mut self, buffer: &mut BytesMut) -> io::Result<Look> {
        loop {
            let mut ready = self.ticks.readable().await?;
            let mut count = [0; 8];
            match rustix::io::read(ready.get_inner(), &mut count) {
                Ok(_) => ready.clear_ready(),
                Err(rustix::io::Errno::AGAIN) => {
                    ready.clear_ready();
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            let before = buffer.len();
            buffer.resize(buffer.capacity(), 0);
            let room = buffer.get_mut(before..).unwrap_or_default();
            let read = match &mut self.socket {
                Plain::Unix(stream) => stream.read(room),
                Plain::Tcp(stream) => stream.read(room),
            };
            let found = match &read {
                Ok(read) => *read,
                Err(_) => 0,
            };
            buffer.truncate(before + found);
            if found >= QUIET {
                self.quiet = 0;
            } else {
                self.quiet += 1;
            }
            match read {
                Ok(read) => return Ok(Look::Read(read)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.quiet >= QUIET_TICKS {
                        return Ok(Look::Quiet);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether little came for a while.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet >= QUIET_TICKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_small_reads_at_once_are_busy() {
        let start = Instant::now();
        let reads = |load: &mut Load, bytes: usize, apart: Duration| {
            (0..BUSY_READS * 2).any(|n| load.read(bytes, start + apart * n))
        };
        let quick = Duration::from_micros(50);
        assert!(reads(&mut Load::default(), 200, quick));
        assert!(!reads(&mut Load::default(), 200, Duration::from_millis(1)));
        assert!(!reads(&mut Load::default(), SMALL, quick));
        let mut load = Load::default();
        assert!((0..1000).all(|n| !load.read(if n % 50 == 0 { SMALL } else { 200 }, start)));
    }
}
