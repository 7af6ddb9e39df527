//! One call on the serving end: what has arrived of its request, and what is kept of its answer.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Request};
use http_body::Body as _;
use tokio::task::AbortHandle;
use tonic::body::Body;

use super::{Inner, body::RequestBody, table::Table};
use crate::{
    MAX_BODY_FRAME,
    flow::{RecvBody, SendBody, Violation},
    frames::OutFrame,
    headers,
    outbox::Outbox,
    proto::{
        CallClass, Credit, Header, Log, Reset, ResetCode, Response as ResponseFrame, frame::Kind,
    },
    socket::Instance,
    sync::lock,
};

/// What is taken of the answer before it is handed to the link.
const GATHER: usize = MAX_BODY_FRAME;

/// What every call may keep of its answer, however much is kept in all.
const FAIR_SHARE: usize = 64 * 1024;

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
    pub(crate) task: OnceLock<AbortHandle>,
    /// Bytes that all calls of the table keep.
    kept_in_all: Arc<AtomicUsize>,
}

pub(crate) struct State {
    pub(crate) place: Option<Place>,
    pub(crate) detached_at: Option<Instant>,
    pub(crate) finished_at: Option<Instant>,
    pub(crate) request: RecvBody,
    pub(crate) request_over: bool,
    pub(crate) reader: Option<Waker>,
    granted_at: Instant,
    answer: SendBody,
    head: Option<(u16, Vec<Header>)>,
    head_sent: bool,
    trailers: Vec<Header>,
    end_sent: bool,
    writer: Option<Waker>,
    counted: usize,
}

impl Call {
    pub(crate) fn new(
        key: Key,
        class: CallClass,
        remember: bool,
        request: RecvBody,
        limit: u64,
        kept_in_all: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            key,
            class,
            remember,
            kept_in_all,
            task: OnceLock::new(),
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
                counted: 0,
            }),
        }
    }

    /// Ends the handler. Its future is dropped, and everything that it holds with it.
    pub(crate) fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
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

    /// Bytes of the answer that are kept.
    pub(crate) fn kept(&self) -> usize {
        lock(&self.state).answer.kept()
    }

    fn count(&self, state: &mut State) {
        let kept = state.answer.kept();
        if kept >= state.counted {
            self.kept_in_all
                .fetch_add(kept - state.counted, Ordering::Relaxed);
        } else {
            self.kept_in_all
                .fetch_sub(state.counted - kept, Ordering::Relaxed);
        }
        state.counted = kept;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let counted = lock(&self.state).counted;
        self.kept_in_all.fetch_sub(counted, Ordering::Relaxed);
    }
}

impl State {
    fn attach(&mut self, place: Place, received: u64, limit: u64) -> Result<(), Violation> {
        self.answer.rewind(received, limit)?;
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

    /// Tells the caller how far it may send, when that is due.
    pub(crate) fn grant(&mut self) {
        if !self.request.grant_due() {
            return;
        }
        // Also while detached: the next attachment tells what was granted meanwhile.
        let round_trip = self
            .place
            .as_ref()
            .map_or(Duration::ZERO, |place| place.outbox.round_trip());
        let since_last = self.granted_at.elapsed();
        let granted = self.request.grant(since_last, round_trip);
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

    fn fail(&mut self, code: ResetCode, message: &str) {
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

/// Runs the handler and takes its answer, at the pace of the caller's credit.
pub(crate) async fn run(inner: Arc<Inner>, call: Arc<Call>, mut request: Request<()>) {
    let body = {
        let extensions = std::mem::take(request.extensions_mut());
        let mut request = request.map(|()| Body::new(RequestBody::new(Arc::clone(&call))));
        *request.extensions_mut() = extensions;
        request
    };
    let _running = Running(Arc::clone(&inner));
    let work = AssertUnwindSafe(answer(&inner, &call, body)).catch_unwind();
    let failure = match work.await {
        Ok(Ok(())) => None,
        Ok(Err(message)) => Some(message),
        Err(_) => {
            tracing::error!(call = %call.key.id, "a handler panicked; its call ends, everything else goes on");
            Some("the handler failed".to_owned())
        }
    };
    let finished = failure.is_none();
    if let Some(message) = failure {
        lock(&call.state).fail(ResetCode::Internal, &message);
    }
    inner.table.ended(&call, finished);
    Table::sweep_later(&inner);
}

/// Counts the handler's task until it is gone, also when it is aborted.
struct Running(Arc<Inner>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.table.stopped();
    }
}

async fn answer(inner: &Inner, call: &Arc<Call>, request: Request<Body>) -> Result<(), String> {
    let response = match inner.handle(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let head = headers::to_frame(&parts.headers).map_err(|error| error.to_string())?;
    lock(&call.state).head = Some((parts.status.as_u16(), head));
    let mut taking = Taking {
        inner,
        call,
        body,
        gathered: 0,
    };
    std::future::poll_fn(|cx| taking.poll(cx)).await
}

/// Takes the answer's body piece by piece.
struct Taking<'a> {
    inner: &'a Inner,
    call: &'a Call,
    body: Body,
    gathered: usize,
}

impl Taking<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        loop {
            if !self.has_room(cx) {
                return Poll::Pending;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => {
                    self.hand_over();
                    return Poll::Pending;
                }
                Poll::Ready(None) => {
                    self.complete(HeaderMap::new())?;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Some(Err(status))) => {
                    let mut trailers = HeaderMap::new();
                    if status.add_header(&mut trailers).is_err() {
                        return Poll::Ready(Err("the answer broke off".to_owned()));
                    }
                    self.complete(trailers)?;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.take(data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.complete(trailers)?;
                            return Poll::Ready(Ok(()));
                        }
                    }
                },
            }
        }
    }

    /// Tells whether the caller's credit, and what may be kept in all, leave room for more.
    fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        let mut state = lock(&self.call.state);
        let crowded = self.inner.table.is_crowded() && state.answer.kept() >= FAIR_SHARE;
        if state.answer.wants_more() && !crowded {
            return true;
        }
        state.writer = Some(cx.waker().clone());
        state.send(self.call.class);
        self.gathered = 0;
        false
    }

    fn take(&mut self, data: Bytes) {
        self.gathered += data.len();
        let mut state = lock(&self.call.state);
        state.answer.push(data);
        self.call.count(&mut state);
        if self.gathered >= GATHER {
            self.gathered = 0;
            state.send(self.call.class);
        }
    }

    fn hand_over(&mut self) {
        self.gathered = 0;
        lock(&self.call.state).send(self.call.class);
    }

    fn complete(&mut self, trailers: HeaderMap) -> Result<(), String> {
        let trailers = headers::to_frame(&trailers).map_err(|error| error.to_string())?;
        let mut state = lock(&self.call.state);
        state.trailers = trailers;
        state.answer.complete();
        state.send(self.call.class);
        Ok(())
    }
}
