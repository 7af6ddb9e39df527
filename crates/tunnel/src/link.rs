//! Drives one WebSocket: reads packets, writes what the outbox holds, and watches that the peer lives.
//!
//! One task does all of it. It never waits for a consumer: what it reads it hands over at once, and what
//! it cannot write stays in the outbox, where credit bounds it.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{
    self, Message,
    protocol::{CloseFrame, frame::coding},
};
use tokio_util::sync::CancellationToken;

use crate::{
    frames::{self, RawPacket},
    outbox::{Next, Outbox},
    socket::{Instance, Socket},
};

/// The dialling end sends `ping` this often, give or take a tenth.
const PING_EVERY: Duration = Duration::from_secs(15);
/// Without a byte for so long after a ping, the link is dead.
const PONG_WITHIN: Duration = Duration::from_secs(8);
/// The answering end takes the link for dead after so long without a byte.
const SILENT_FOR: Duration = Duration::from_secs(25);
/// How often the dialling end looks whether the machine was asleep.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the peer may take to answer a close frame.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// Messages read before other tasks get a turn.
const READ_BURST: usize = 32;
/// Bytes written before other tasks get a turn.
const WRITE_BURST: usize = 8;

/// Why the accepting end closed, as WebSocket close codes (RFC 6455, section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// 1000: all is done.
    Done,
    /// 1001: the process stops.
    GoingAway,
    /// 1002: the peer broke the protocol.
    Protocol,
    /// 4401: the token is not accepted.
    Unauthenticated,
    /// 4403: the token or the agent was revoked.
    Revoked,
    /// 4408: the peer's greeting came too late.
    TooLate,
    /// 4409: a newer connection has taken this one's place.
    Superseded,
    /// 4426: the peer speaks another protocol.
    WrongProtocol,
    /// 4429: too much at once.
    Overloaded,
    /// Any other code.
    Other(u16),
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        match code {
            CloseCode::Done => 1000,
            CloseCode::GoingAway => 1001,
            CloseCode::Protocol => 1002,
            CloseCode::Unauthenticated => 4401,
            CloseCode::Revoked => 4403,
            CloseCode::TooLate => 4408,
            CloseCode::Superseded => 4409,
            CloseCode::WrongProtocol => 4426,
            CloseCode::Overloaded => 4429,
            CloseCode::Other(code) => code,
        }
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        match code {
            1000 => Self::Done,
            1001 => Self::GoingAway,
            1002 => Self::Protocol,
            4401 => Self::Unauthenticated,
            4403 => Self::Revoked,
            4408 => Self::TooLate,
            4409 => Self::Superseded,
            4426 => Self::WrongProtocol,
            4429 => Self::Overloaded,
            code => Self::Other(code),
        }
    }
}

/// How this end wants to close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
}

impl Closing {
    pub(crate) fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The peer closed it.
    ClosedByPeer {
        /// With this code.
        code: CloseCode,
        /// And this sentence.
        reason: String,
    },
    /// This end closed it.
    ClosedHere {
        /// With this code.
        code: CloseCode,
        /// And this sentence.
        reason: String,
    },
    /// The connection broke.
    Cut(String),
    /// The peer has not sent a byte for too long.
    Silent,
    /// The peer broke the protocol.
    Violation(String),
    /// A step of the greeting took too long.
    GreetingTooLate,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedByPeer { code, reason } => {
                write!(
                    f,
                    "the peer closed the connection (code {}",
                    u16::from(*code)
                )?;
                match reason.as_str() {
                    "" => write!(f, ")"),
                    reason => write!(f, ": {reason})"),
                }
            }
            Self::ClosedHere { reason, .. } => write!(f, "closed here: {reason}"),
            Self::Cut(error) => write!(f, "the connection broke: {error}"),
            Self::Silent => write!(f, "the peer was silent for too long"),
            Self::Violation(what) => write!(f, "the peer broke the protocol: {what}"),
            Self::GreetingTooLate => write!(f, "the peer's greeting did not come within 10 s"),
        }
    }
}

/// Which end of the WebSocket this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Dialled,
    Answered,
}

/// Drives the link until it ends; then the outbox is shut. `on_packet` answers with what is wrong
/// when a packet breaks the protocol.
pub(crate) async fn drive(
    socket: &mut Socket,
    outbox: &Outbox,
    side: Side,
    cancel: &CancellationToken,
    on_packet: impl FnMut(RawPacket) -> Result<(), String>,
) -> EndReason {
    let mut driver = Driver {
        outbox,
        on_packet,
        flushing: false,
        pong_due: false,
        liveness: Liveness::new(side, socket.ws.get_ref().read()),
        timer: Box::pin(sleep_until(Instant::now())),
        socket,
    };
    let mut cancelled = std::pin::pin!(cancel.cancelled());
    let mut is_cancelled = false;
    let stopped = poll_fn(|cx| {
        if !is_cancelled && cancelled.as_mut().poll(cx).is_ready() {
            is_cancelled = true;
            outbox.close(Closing::new(CloseCode::GoingAway, "stopping"));
        }
        driver.poll(cx)
    })
    .await;
    outbox.shut();
    match stopped {
        Stopped::Ended(reason) => {
            match &reason {
                EndReason::Violation(what) => {
                    say_goodbye(socket, Closing::new(CloseCode::Protocol, what.clone())).await;
                }
                // The answer to the peer's close frame is still to be written.
                EndReason::ClosedByPeer { .. } => {
                    let _ = timeout(CLOSE_WITHIN, socket.ws.flush()).await;
                }
                _ => {}
            }
            reason
        }
        Stopped::Close(closing) => {
            let Closing { code, reason } = closing.clone();
            say_goodbye(socket, closing).await;
            EndReason::ClosedHere { code, reason }
        }
    }
}

/// Sends a close frame and waits a little for the peer's.
pub(crate) async fn say_goodbye(socket: &mut Socket, closing: Closing) {
    let mut reason = closing.reason;
    while reason.len() > 120 {
        reason.pop();
    }
    let frame = CloseFrame {
        code: coding::CloseCode::from(u16::from(closing.code)),
        reason: reason.into(),
    };
    let _ = timeout(CLOSE_WITHIN, async {
        if socket.ws.close(Some(frame)).await.is_ok() {
            while let Some(Ok(_)) = socket.ws.next().await {}
        }
    })
    .await;
}

enum Stopped {
    Ended(EndReason),
    Close(Closing),
}

struct Driver<'a, F> {
    socket: &'a mut Socket,
    outbox: &'a Outbox,
    on_packet: F,
    flushing: bool,
    pong_due: bool,
    liveness: Liveness,
    timer: Pin<Box<Sleep>>,
}

impl<F: FnMut(RawPacket) -> Result<(), String>> Driver<'_, F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stopped> {
        self.outbox.register(cx.waker());
        let mut again = false;
        match self.poll_read(cx) {
            Ok(more) => again |= more,
            Err(reason) => return Poll::Ready(Stopped::Ended(reason)),
        }
        match self.poll_time(cx) {
            Ok(()) => {}
            Err(reason) => return Poll::Ready(Stopped::Ended(reason)),
        }
        match self.poll_write(cx) {
            Ok(more) => again |= more,
            Err(stopped) => return Poll::Ready(stopped),
        }
        if again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Reads what is there. `true` when there may be more.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<bool, EndReason> {
        for _ in 0..READ_BURST {
            let message = match Pin::new(&mut self.socket.ws).poll_next(cx) {
                Poll::Pending => {
                    self.liveness.heard(self.socket.ws.get_ref().read());
                    return Ok(false);
                }
                Poll::Ready(None) => return Err(EndReason::Cut("end of stream".to_owned())),
                Poll::Ready(Some(Err(error))) => return Err(ended_by(&error)),
                Poll::Ready(Some(Ok(message))) => message,
            };
            match message {
                Message::Binary(bytes) => self.packet(bytes)?,
                Message::Text(text) => match text.as_str() {
                    "ping" => self.pong_due = true,
                    "pong" => {
                        if let Some(round_trip) = self.liveness.ponged() {
                            self.outbox.observe_round_trip(round_trip);
                        }
                    }
                    _ => {}
                },
                Message::Close(frame) => {
                    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                        (frame.code.into(), frame.reason.as_str().to_owned())
                    });
                    return Err(EndReason::ClosedByPeer {
                        code: CloseCode::from(code),
                        reason,
                    });
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        self.liveness.heard(self.socket.ws.get_ref().read());
        Ok(true)
    }

    fn packet(&mut self, bytes: Bytes) -> Result<(), EndReason> {
        let packet =
            RawPacket::parse(bytes).map_err(|error| EndReason::Violation(error.to_string()))?;
        (self.on_packet)(packet).map_err(EndReason::Violation)
    }

    /// Looks at the clock.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Result<(), EndReason> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let next = self.liveness.tick()?;
            self.timer.as_mut().reset(next);
        }
        Ok(())
    }

    /// Writes what is queued. `true` when there may be more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, Stopped> {
        let cut = |error: tungstenite::Error| Stopped::Ended(ended_by(&error));
        let mut ws = Pin::new(&mut self.socket.ws);
        for _ in 0..WRITE_BURST {
            if self.flushing {
                match ws.as_mut().poll_flush(cx) {
                    Poll::Pending => return Ok(false),
                    Poll::Ready(result) => result.map_err(cut)?,
                }
                self.flushing = false;
            }
            let message = if self.liveness.take_ping() {
                Message::text("ping")
            } else if std::mem::take(&mut self.pong_due) {
                Message::text("pong")
            } else {
                match self.outbox.next() {
                    Next::Packet { slot, frames } => Message::Binary(frames::encode(slot, &frames)),
                    Next::Close(closing) => return Err(Stopped::Close(closing)),
                    Next::Nothing => return Ok(false),
                }
            };
            // Accepts the message also when the socket cannot take it yet.
            ws.as_mut().start_send(message).map_err(cut)?;
            self.flushing = true;
        }
        Ok(true)
    }
}

fn ended_by(error: &tungstenite::Error) -> EndReason {
    use tungstenite::Error;
    match error {
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            EndReason::Cut("closed without a close frame".to_owned())
        }
        Error::Capacity(_) | Error::Protocol(_) | Error::Utf8(_) | Error::AttackAttempt => {
            EndReason::Violation(error.to_string())
        }
        other => EndReason::Cut(other.to_string()),
    }
}

/// Knows when to ping, and when the peer has been silent for too long.
struct Liveness {
    side: Side,
    read: u64,
    last_heard: Instant,
    next_ping: Instant,
    ping_due: bool,
    pinged: Option<Instant>,
    looked: (Instant, SystemTime),
}

impl Liveness {
    fn new(side: Side, read: u64) -> Self {
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

    fn heard(&mut self, read: u64) {
        if read != self.read {
            self.read = read;
            self.last_heard = Instant::now();
        }
    }

    /// A pong arrived: how long it took.
    fn ponged(&mut self) -> Option<Duration> {
        self.pinged.take().map(|pinged| pinged.elapsed())
    }

    fn take_ping(&mut self) -> bool {
        let due = std::mem::take(&mut self.ping_due);
        if due {
            self.pinged = Some(Instant::now());
        }
        due
    }

    /// Answers with the next moment to look again.
    fn tick(&mut self) -> Result<Instant, EndReason> {
        let now = Instant::now();
        if self.side == Side::Answered {
            let dead = self.last_heard + SILENT_FOR;
            return if now >= dead {
                Err(EndReason::Silent)
            } else {
                Ok(dead)
            };
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
        let dead = self
            .pinged
            .map_or(now + PONG_WITHIN, |pinged| pinged + PONG_WITHIN);
        Ok(self.next_ping.min(dead).min(now + LOOK_EVERY))
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
