//! Drives one WebSocket: reads packets, writes what the outbox holds, and watches that the peer lives.
//!
//! One task does all of it. It never waits for a consumer: what it reads it hands over at once, and what
//! it cannot write stays in the outbox, where credit bounds it.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
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
    ending::{CloseCode, Closing, EndReason},
    frames::{self, RawPacket},
    liveness::Liveness,
    outbox::{Next, Outbox},
    socket::Socket,
};

/// How long the peer may take to answer a close frame.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// Messages read before other tasks get a turn.
const READ_BURST: usize = 32;
/// Bytes written before other tasks get a turn.
const WRITE_BURST: usize = 8;

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
        closing: None,
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
    /// This end closes, and does not wait beyond this moment for what is still to be written.
    closing: Option<(Instant, Closing)>,
    timer: Pin<Box<Sleep>>,
}

impl<F: FnMut(RawPacket) -> Result<(), String>> Driver<'_, F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stopped> {
        self.outbox.register(cx.waker());
        let mut again = false;
        if self.closing.is_none()
            && let Some(closing) = self.outbox.is_closing()
        {
            let latest = Instant::now() + CLOSE_WITHIN;
            self.closing = Some((latest, closing));
            self.timer.as_mut().reset(latest);
        }
        // A peer that is being sent away is not served any more.
        if self.closing.is_none() {
            match self.poll_read(cx) {
                Ok(more) => again |= more,
                Err(reason) => return Poll::Ready(Stopped::Ended(reason)),
            }
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
            if let Some((latest, closing)) = &self.closing {
                if Instant::now() >= *latest {
                    // The peer takes nothing, not even the close frame.
                    let Closing { code, reason } = closing.clone();
                    return Err(EndReason::ClosedHere { code, reason });
                }
                self.timer.as_mut().reset(*latest);
                continue;
            }
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
