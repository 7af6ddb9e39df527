//! One call on the calling end: what is kept of its request, and what has arrived of its answer.

mod answer;

use std::{
    sync::{Arc, Mutex},
    task::{Context, Waker},
    time::{Duration, Instant as StdInstant},
};

use bytes::Bytes;
use http::HeaderMap;
use tonic::Status;

use crate::{
    FIRST_WINDOW, MAX_BODY_FRAME, Method,
    budget::Budget,
    flow::{RecvBody, SendBody, Violation},
    frames::OutFrame,
    outbox::Outbox,
    presence::Presence,
    proto::{Command, Credit, Data, Header, frame::Kind},
    socket::Instance,
    sync::lock,
};

pub(crate) use answer::Piece;

pub(crate) struct Call {
    path: String,
    headers: Vec<Header>,
    method: Method,
    /// On whose behalf; a relay replaces what a caller's own link says.
    caller: Option<Arc<str>>,
    growth: Arc<Budget>,
    state: Mutex<State>,
}

struct State {
    id: Instance,
    stream: u32,
    /// The instance that the call was first meant for; none before the first command.
    instance: Option<Bytes>,
    outbox: Option<Arc<Outbox>>,
    /// It is known how much of the request the other end has.
    synced: bool,
    over: bool,
    request: SendBody,
    request_end_sent: bool,
    writer: Option<Waker>,
    answer: RecvBody,
    head: Option<(u16, HeaderMap)>,
    head_arrived: bool,
    trailers: Option<HeaderMap>,
    failed: Option<Status>,
    reader: Option<Waker>,
    commanded_at: Option<StdInstant>,
    granted_at: StdInstant,
}

impl Call {
    pub(crate) fn new(
        path: String,
        headers: Vec<Header>,
        method: Method,
        caller: Option<Arc<str>>,
        (first_window, max_window): (u64, u64),
        growth: Arc<Budget>,
    ) -> Self {
        Self {
            path,
            headers,
            method,
            caller,
            growth,
            state: Mutex::new(State {
                id: Instance::random(),
                stream: 0,
                instance: None,
                outbox: None,
                synced: false,
                over: false,
                request: SendBody::new(FIRST_WINDOW),
                request_end_sent: false,
                writer: None,
                answer: RecvBody::new(first_window, max_window),
                head: None,
                head_arrived: false,
                trailers: None,
                failed: None,
                reader: None,
                commanded_at: None,
                granted_at: StdInstant::now(),
            }),
        }
    }

    pub(crate) fn number(&self, stream: u32) {
        lock(&self.state).stream = stream;
    }

    pub(crate) fn stream(&self) -> u32 {
        lock(&self.state).stream
    }

    pub(crate) fn id(&self) -> Instance {
        lock(&self.state).id
    }

    pub(crate) fn was_commanded(&self) -> bool {
        lock(&self.state).instance.is_some()
    }

    pub(crate) fn is_attached(&self) -> bool {
        lock(&self.state).outbox.is_some()
    }

    pub(crate) fn is_over(&self) -> bool {
        lock(&self.state).over
    }

    /// The call goes on over this link.
    pub(crate) fn attach(&self, outbox: &Arc<Outbox>, presence: &Presence) {
        let mut state = lock(&self.state);
        let again = state.instance.is_some();
        let instance = state
            .instance
            .get_or_insert_with(|| presence.instance_bytes())
            .clone();
        state.outbox = Some(Arc::clone(outbox));
        state.synced = !again;
        state.request_end_sent = false;
        let mut body = Bytes::new();
        if !again {
            let _ = state.request.rewind(0, presence.window);
            if let Some((_, piece)) = state.request.next(MAX_BODY_FRAME) {
                body = piece;
            }
            state.request_end_sent = state.request.is_all_sent();
            state.commanded_at = Some(StdInstant::now());
        }
        let command = Command {
            call_id: Bytes::copy_from_slice(state.id.as_bytes()),
            instance,
            path: self.path.clone(),
            headers: self.headers.clone(),
            class: self.method.class.into(),
            body,
            end: state.request_end_sent,
            received: state.answer.received(),
            limit: state.answer.granted(),
            again,
            caller: self.caller.as_deref().unwrap_or_default().to_owned(),
            no_side_effects: self.method.no_side_effects,
        };
        let frame = OutFrame::new(state.stream, Kind::Command(command));
        outbox.push(0, state.stream, self.method.class, [frame]);
        state.send(self.method);
    }

    /// The link is gone, or whom it leads to.
    pub(crate) fn detach(&self) {
        let mut state = lock(&self.state);
        state.outbox = None;
        state.synced = false;
    }

    /// Nothing has come of the call and nothing of its request is forgotten: as it changes nothing, it may
    /// begin again.
    pub(crate) fn may_start_again(&self) -> bool {
        let state = lock(&self.state);
        self.method.no_side_effects
            && !state.head_arrived
            && state.answer.received() == 0
            && state.request.base() == 0
    }

    pub(crate) fn start_again(&self, outbox: &Arc<Outbox>, presence: &Presence) {
        {
            let mut state = lock(&self.state);
            state.id = Instance::random();
            state.instance = None;
        }
        self.attach(outbox, presence);
    }

    /// Takes what the other end says of the request.
    pub(crate) fn credit(&self, credit: Credit) -> Result<(), Violation> {
        let mut state = lock(&self.state);
        if state.synced {
            state.request.credit(credit.received, credit.limit)?;
        } else if state.outbox.is_some() {
            state.request.rewind(credit.received, credit.limit)?;
            state.synced = true;
            state.request_end_sent = false;
        }
        state.send(self.method);
        if state.request.wants_more()
            && let Some(writer) = state.writer.take()
        {
            writer.wake();
        }
        Ok(())
    }

    /// Ends the call with this error.
    pub(crate) fn fail(&self, status: Status) {
        let mut state = lock(&self.state);
        if state.failed.is_none() && !state.answer.is_complete() {
            state.failed = Some(status);
        }
        state.end();
    }

    /// The call's consumer is gone.
    pub(crate) fn close(&self) {
        lock(&self.state).end();
    }

    /// Tells whether more of the request can be taken; if not, wakes when it can.
    pub(crate) fn wants_more(&self, cx: &mut Context<'_>) -> bool {
        let mut state = lock(&self.state);
        if state.request.wants_more() {
            return true;
        }
        state.writer = Some(cx.waker().clone());
        false
    }

    /// Wakes whoever waits for more of the request's body, when the call is over.
    pub(crate) fn wake_when_over(&self, cx: &mut Context<'_>) {
        lock(&self.state).writer = Some(cx.waker().clone());
    }

    pub(crate) fn push(&self, chunk: Bytes) {
        lock(&self.state).request.push(chunk);
    }

    pub(crate) fn complete_request(&self) {
        lock(&self.state).request.complete();
    }

    /// Hands the link whatever of the request may go.
    pub(crate) fn send(&self) {
        lock(&self.state).send(self.method);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let window = lock(&self.state).answer.window();
        self.growth.give_back(window.saturating_sub(FIRST_WINDOW));
    }
}

impl State {
    fn send(&mut self, method: Method) {
        let Some(outbox) = self.outbox.clone().filter(|_| self.synced) else {
            return;
        };
        let mut frames = Vec::new();
        while !self.request_end_sent {
            let piece = self.request.next(MAX_BODY_FRAME);
            let end = self.request.is_all_sent();
            if piece.is_none() && !end {
                break;
            }
            let (offset, body) = piece.unwrap_or((self.request.sent(), Bytes::new()));
            self.request_end_sent = end;
            frames.push(OutFrame::new(
                self.stream,
                Kind::Data(Data { offset, body, end }),
            ));
        }
        if !frames.is_empty() {
            outbox.push(0, self.stream, method.class, frames);
        }
    }

    fn grant(&mut self, growth: &Budget) {
        if !self.answer.grant_due() {
            return;
        }
        // Also while detached: the next command tells what was granted meanwhile.
        let round_trip = self
            .outbox
            .as_ref()
            .map_or(Duration::ZERO, |outbox| outbox.round_trip());
        let since_last = self.granted_at.elapsed();
        let granted = self
            .answer
            .grant(since_last, round_trip, |more| growth.take(more));
        self.granted_at = StdInstant::now();
        if let (Some(limit), Some(outbox)) = (granted, &self.outbox) {
            let credit = Credit {
                received: self.answer.received(),
                limit,
            };
            outbox.push_first(0, OutFrame::new(self.stream, Kind::Credit(credit)));
        }
    }

    fn end(&mut self) {
        self.over = true;
        for waker in [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }
}
