//! One call on the serving end: what has arrived of its request, and what is kept of its answer.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::task::AbortHandle;

use super::table::Bounds;
use crate::{
    MAX_BODY_FRAME,
    flow::{RecvBody, SendBody, Violation},
    frames::OutFrame,
    outbox::Outbox,
    proto::{
        CallClass, Credit, Header, Log, Reset, ResetCode, Response as ResponseFrame, frame::Kind,
    },
    socket::Instance,
    sync::lock,
};

/// What a call counts beside the bytes of its answer.
const OVERHEAD: usize = 1024;

/// Who owns a call, and its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) owner: Arc<str>,
    pub(crate) id: Instance,
}

/// Where a call's frames go.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) slot: u32,
    pub(crate) stream: u32,
}

impl Place {
    pub(crate) fn is(&self, outbox: &Arc<Outbox>, slot: u32, stream: u32) -> bool {
        Arc::ptr_eq(&self.outbox, outbox) && self.slot == slot && self.stream == stream
    }

    fn first(&self, kind: Kind) {
        self.outbox
            .push_first(self.slot, OutFrame::new(self.stream, kind));
    }
}

pub(crate) struct Call {
    pub(crate) key: Key,
    pub(crate) class: CallClass,
    pub(crate) remember: bool,
    pub(crate) state: Mutex<State>,
    task: OnceLock<AbortHandle>,
    aborted: AtomicBool,
    bounds: Arc<Bounds>,
}

pub(crate) struct State {
    pub(crate) place: Option<Place>,
    pub(crate) detached_at: Option<Instant>,
    pub(crate) finished_at: Option<Instant>,
    pub(crate) request: RecvBody,
    pub(crate) request_over: bool,
    pub(crate) reader: Option<Waker>,
    granted_at: Instant,
    pub(crate) answer: SendBody,
    pub(crate) head: Option<(u16, Vec<Header>)>,
    pub(crate) head_sent: bool,
    pub(crate) trailers: Vec<Header>,
    pub(crate) end_sent: bool,
    pub(crate) writer: Option<Waker>,
    counted: usize,
}

impl Call {
    pub(crate) fn new(
        key: Key,
        class: CallClass,
        remember: bool,
        request: RecvBody,
        limit: u64,
        bounds: Arc<Bounds>,
    ) -> Self {
        bounds.keep(OVERHEAD);
        Self {
            key,
            class,
            remember,
            bounds,
            task: OnceLock::new(),
            aborted: AtomicBool::new(false),
            state: Mutex::new(State {
                place: None,
                detached_at: None,
                finished_at: None,
                request,
                request_over: false,
                reader: None,
                granted_at: Instant::now(),
                answer: SendBody::new(limit),
                head: None,
                head_sent: false,
                trailers: Vec::new(),
                end_sent: false,
                writer: None,
                counted: OVERHEAD,
            }),
        }
    }

    /// Ends the handler. Its future is dropped, and everything that it holds with it.
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::SeqCst);
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Says which task the handler is. The call may have been ended already.
    pub(crate) fn runs_as(&self, task: AbortHandle) {
        let _ = self.task.set(task);
        if self.aborted.load(Ordering::SeqCst) {
            self.abort();
        }
    }

    /// Moves the call to a new place; what the caller has not received is sent again from there.
    pub(crate) fn attach(&self, place: Place, received: u64, limit: u64) -> Result<(), Violation> {
        let mut state = lock(&self.state);
        state.attach(place, received, limit)?;
        state.send(self.class);
        if state.answer.wants_more()
            && let Some(writer) = state.writer.take()
        {
            writer.wake();
        }
        self.count(&mut state);
        Ok(())
    }

    /// More credit for the answer.
    pub(crate) fn credit(&self, credit: Credit) -> Result<(), Violation> {
        let mut state = lock(&self.state);
        state.answer.credit(credit.received, credit.limit)?;
        self.count(&mut state);
        state.send(self.class);
        if state.answer.wants_more()
            && let Some(writer) = state.writer.take()
        {
            writer.wake();
        }
        Ok(())
    }

    /// Tells the caller how far it may send, when that is due.
    pub(crate) fn grant(&self, state: &mut State) {
        state.grant(&self.bounds);
    }

    pub(crate) fn count(&self, state: &mut State) {
        let kept = state.answer.kept() + OVERHEAD;
        if kept >= state.counted {
            self.bounds.keep(kept - state.counted);
        } else {
            self.bounds.release(state.counted - kept);
        }
        state.counted = kept;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let state = lock(&self.state);
        self.bounds.release(state.counted);
        self.bounds.shrink(&state.request);
    }
}

impl State {
    fn attach(&mut self, place: Place, received: u64, limit: u64) -> Result<(), Violation> {
        self.answer.rewind(received, limit)?;
        if let Some(old) = &self.place {
            old.outbox.clear_call(old.slot, old.stream);
        }
        place.first(Kind::Credit(Credit {
            received: self.request.received(),
            limit: self.request.granted(),
        }));
        self.place = Some(place);
        self.detached_at = None;
        self.head_sent = false;
        self.end_sent = false;
        Ok(())
    }

    pub(crate) fn detach(&mut self) {
        self.place = None;
        self.detached_at = Some(Instant::now());
    }

    /// Since when nobody has been getting anything of this call, and whether its handler is done. None
    /// while it runs, or its answer is on its way, for a caller who is there.
    pub(crate) fn idle(&self) -> Option<(Instant, bool)> {
        match (self.detached_at, self.finished_at) {
            (Some(detached), Some(finished)) => Some((detached.max(finished), true)),
            (Some(detached), None) => Some((detached, false)),
            (None, Some(finished)) if self.end_sent => Some((finished, true)),
            (None, _) => None,
        }
    }

    /// Bytes that this call counts.
    pub(crate) fn counted(&self) -> usize {
        self.counted
    }

    fn grant(&mut self, bounds: &Bounds) {
        if !self.request.grant_due() {
            return;
        }
        // Also while detached: the next attachment tells what was granted meanwhile.
        let round_trip = self
            .place
            .as_ref()
            .map_or(Duration::ZERO, |place| place.outbox.round_trip());
        let since_last = self.granted_at.elapsed();
        let granted = self
            .request
            .grant(since_last, round_trip, |more| bounds.growth.take(more));
        self.granted_at = Instant::now();
        if let (Some(limit), Some(place)) = (granted, &self.place) {
            place.first(Kind::Credit(Credit {
                received: self.request.received(),
                limit,
            }));
        }
    }

    /// Hands the link whatever may go.
    pub(crate) fn send(&mut self, class: CallClass) {
        let Some(place) = self.place.clone() else {
            return;
        };
        if self.head.is_none() || self.end_sent {
            return;
        }
        let mut frames = Vec::new();
        loop {
            let piece = self.answer.next(MAX_BODY_FRAME);
            let end = self.answer.is_all_sent();
            if piece.is_none() && self.head_sent && !end {
                break;
            }
            let (offset, body) = piece.unwrap_or((self.answer.sent(), Bytes::new()));
            if class == CallClass::Bulk && self.head_sent && !body.is_empty() {
                frames.push(OutFrame::new(place.stream, Kind::Log(Log { offset, body })));
                if !end {
                    continue;
                }
                frames.push(self.response(place.stream, self.answer.sent(), Bytes::new(), true));
                break;
            }
            frames.push(self.response(place.stream, offset, body, end));
            if end {
                break;
            }
        }
        place.outbox.push(place.slot, place.stream, class, frames);
    }

    fn response(&mut self, stream: u32, offset: u64, body: Bytes, end: bool) -> OutFrame {
        let (status, headers) = match &self.head {
            Some((status, headers)) if !self.head_sent => (u32::from(*status), headers.clone()),
            _ => (0, Vec::new()),
        };
        self.head_sent = true;
        self.end_sent |= end;
        let trailers = if end {
            self.trailers.clone()
        } else {
            Vec::new()
        };
        OutFrame::new(
            stream,
            Kind::Response(ResponseFrame {
                status,
                headers,
                offset,
                body,
                trailers,
                end,
            }),
        )
    }

    pub(crate) fn fail(&mut self, code: ResetCode, message: &str) {
        if let Some(place) = &self.place {
            let reset = Reset {
                code: code.into(),
                message: message.to_owned(),
                call_id: Bytes::new(),
            };
            place.outbox.reset(
                place.slot,
                place.stream,
                OutFrame::new(place.stream, Kind::Reset(reset)),
            );
        }
    }
}
