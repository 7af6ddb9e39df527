//! Reading a busy stream by the clock instead of by event.
//!
//! An engine writes every line of a log by itself, and a reader that is woken for each spends
//! most of its time waking up, and the engine's. As network cards do under load, a stream
//! whose events come thick is taken out of the event loop and looked at every half millisecond,
//! until it is quiet again. What was read is always passed on before; a line of a quiet stream
//! never waits.

use std::{
    cell::RefCell,
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

/// The most that a look takes. A socket holds less, unless its messages are long.
const SCRATCH: usize = 64 << 10;

thread_local! {
    /// Where a look reads into, so that nothing is kept, or cleared, for a stream that has little to say.
    static SPACE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A clock that ticks every half millisecond.
#[derive(Debug)]
pub(super) struct Ticks(AsyncFd<OwnedFd>);

impl Ticks {
    /// Starts one. It needs a file descriptor, so this may fail.
    pub(super) fn start() -> io::Result<Self> {
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
        AsyncFd::new(timer).map(Self)
    }

    /// Waits for the next tick. Cancel-safe.
    async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut count = [0; 8];
            let read = rustix::io::read(ready.get_inner(), &mut count);
            ready.clear_ready();
            match read {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A socket that is looked at by the clock.
#[derive(Debug)]
pub(super) struct Paced {
    socket: Plain,
    ticks: Ticks,
    quiet: u32,
    /// The last look took all that it could: there is more.
    more: bool,
}

#[derive(Debug)]
enum Plain {
    Unix(std::os::unix::net::UnixStream),
    Tcp(std::net::TcpStream),
}

impl Plain {
    /// Adds what is there to the buffer.
    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        SPACE.with_borrow_mut(|space| {
            space.resize(SCRATCH, 0);
            let read = match self {
                Self::Unix(stream) => stream.read(space),
                Self::Tcp(stream) => stream.read(space),
            }?;
            buffer.extend_from_slice(space.get(..read).unwrap_or_default());
            Ok(read)
        })
    }
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
    pub(super) fn new(socket: Socket, ticks: Ticks) -> io::Result<Self> {
        Ok(Self {
            ticks,
            socket: match socket {
                Socket::Unix(stream) => Plain::Unix(stream.into_std()?),
                Socket::Tcp(stream) => Plain::Tcp(stream.into_std()?),
            },
            quiet: 0,
            more: false,
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
            if self.more {
                // Others get their turn, as they do from a socket of Tokio's.
                tokio::task::consume_budget().await;
            } else {
                self.ticks.next().await?;
            }
            let read = self.socket.read(buffer);
            let found = *read.as_ref().unwrap_or(&0);
            self.more = found == SCRATCH;
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
