//! The calling end: a tower service whose calls outlive the links that carry them.
//!
//! A channel has at most one link at a time. While it has none, its calls wait; with the next link each of
//! them sends its command again, and both ends go on where they were.

mod call;
mod links;
mod pump;

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant as StdInstant},
};

use http::{Request, Response};
use tokio::{sync::watch, task::AbortHandle, time::Instant};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tonic::{Code, Status, body::Body};
use tower_service::Service;

pub use crate::body::ResponseBody;
use crate::{
    Caller, Methods,
    body::Guard,
    budget::Budget,
    error,
    frames::{OutFrame, RawFrame},
    headers,
    outbox::Outbox,
    presence::Presence,
    proto::{Reset, ResetCode, TunnelErrorReason, frame::Kind},
    socket::Instance,
    sync::lock,
    timeout::grpc_timeout,
};
pub(crate) use call::{Call, Piece};

/// How long open calls wait for their agent to come back.
const WAIT_FOR_AGENT: Duration = Duration::from_secs(120);
/// How long a new call waits for a link to the control plane.
const WAIT_FOR_LINK: Duration = Duration::from_secs(10);
/// Cancelled calls whose cancel is repeated over the next link, at most.
const MAX_CANCELLED: usize = 256;
/// How long the other end keeps a call that a cut has kept from hearing of its cancel.
const CANCELLED_FOR: Duration = Duration::from_secs(120);

/// A tower service that carries calls to whoever serves at the other end of the tunnel. Cheap to clone.
#[derive(Clone)]
pub struct Channel {
    pub(crate) inner: Arc<Inner>,
    /// Cancels `Inner::dropped` with the last clone.
    _alive: Arc<DropGuard>,
}

pub(crate) struct Inner {
    pub(crate) methods: Methods,
    pub(crate) windows: (u64, u64),
    growth: Arc<Budget>,
    /// The link leads straight to whom the channel calls: no link means that nobody is there.
    direct: bool,
    pub(crate) tasks: TaskTracker,
    /// Cancelled when the last user of the channel is gone.
    pub(crate) dropped: CancellationToken,
    pub(crate) presence: watch::Sender<Presence>,
    state: Mutex<State>,
}

struct State {
    outbox: Option<Arc<Outbox>>,
    calls: HashMap<u32, Arc<Call>>,
    next_stream: u32,
    /// The last cancels, which a cut may have swallowed.
    cancelled: VecDeque<(StdInstant, Instance)>,
    /// Why there will be no link: calls fail with it at once.
    refused: Option<Status>,
    away_since: Option<StdInstant>,
    /// The task that gives calls up which wait too long.
    giving_up: Option<AbortHandle>,
}

impl Channel {
    pub(crate) fn new(
        methods: Methods,
        windows: (u64, u64),
        direct: bool,
        presence: Presence,
    ) -> Self {
        let dropped = CancellationToken::new();
        Self {
            _alive: Arc::new(dropped.clone().drop_guard()),
            inner: Arc::new(Inner {
                methods,
                windows,
                growth: Arc::default(),
                direct,
                tasks: TaskTracker::new(),
                dropped,
                presence: watch::Sender::new(presence),
                state: Mutex::new(State {
                    outbox: None,
                    calls: HashMap::new(),
                    next_stream: 1,
                    cancelled: VecDeque::new(),
                    refused: None,
                    away_since: None,
                    giving_up: None,
                }),
            }),
        }
    }

    /// Tells whether whom this channel calls is there, and every change of that.
    pub fn presence(&self) -> watch::Receiver<Presence> {
        self.inner.presence.subscribe()
    }
}

impl Inner {
    /// Takes a frame about a call.
    pub(crate) fn receive(&self, raw: RawFrame) -> Result<(), String> {
        let stream = raw.stream;
        let Some(kind) = raw.decode().map_err(|error| error.to_string())? else {
            return Ok(());
        };
        let Some(call) = lock(&self.state).calls.get(&stream).cloned() else {
            return Ok(());
        };
        let ended = match kind {
            Kind::Response(response) => call.response(response),
            Kind::Log(log) => call.body(log.offset, log.body, None),
            Kind::Credit(credit) => call.credit(credit),
            Kind::Reset(reset) => {
                self.reset(&call, &reset);
                return Ok(());
            }
            _ => Ok(()),
        };
        if let Err(violation) = ended {
            self.cancel(&call);
            call.fail(error::protocol_violation(&violation.to_string()));
        }
        Ok(())
    }

    fn reset(&self, call: &Arc<Call>, reset: &Reset) {
        let presence = self.presence.borrow().clone();
        let status = match reset.code() {
            ResetCode::Lost if call.may_start_again() && presence.connected => {
                if let Some(outbox) = lock(&self.state).outbox.clone() {
                    call.start_again(&outbox, &presence);
                    return;
                }
                error::call_lost()
            }
            ResetCode::Lost => error::call_lost(),
            ResetCode::Refused if !presence.connected => presence.offline(),
            ResetCode::Refused => error::status(
                Code::Unavailable,
                TunnelErrorReason::TooManyCalls,
                format!("the call was not started: {}", reset.message),
                &[],
            ),
            ResetCode::Cancel => Status::cancelled("the call was cancelled"),
            ResetCode::FlowControl | ResetCode::Protocol => {
                error::protocol_violation(&reset.message)
            }
            ResetCode::Internal | ResetCode::Unspecified => error::status(
                Code::Internal,
                TunnelErrorReason::HandlerFailed,
                "the call's handler failed; the agent's log has the details",
                &[],
            ),
        };
        lock(&self.state).calls.remove(&call.stream());
        call.fail(status);
    }

    /// The answer arrived whole: the other end may forget it.
    pub(crate) fn done(&self, call: &Call) {
        let mut state = lock(&self.state);
        if state.calls.remove(&call.stream()).is_some()
            && let Some(outbox) = &state.outbox
        {
            let done = OutFrame::new(call.stream(), Kind::Done(crate::proto::Done {}));
            outbox.push_rider(0, done);
        }
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn cancel(&self, call: &Call) {
        let mut state = lock(&self.state);
        if state.calls.remove(&call.stream()).is_none() {
            return;
        }
        if !call.was_commanded() {
            return;
        }
        if let Some(outbox) = state.outbox.as_ref().filter(|_| call.is_attached()) {
            outbox.reset(0, call.stream(), cancel(call.stream(), None));
        }
        if state.cancelled.len() >= MAX_CANCELLED {
            state.cancelled.pop_front();
        }
        state.cancelled.push_back((StdInstant::now(), call.id()));
    }

    /// Puts a new call on the link.
    fn open(&self, call: &Arc<Call>) -> Result<(), Refused> {
        let mut state = lock(&self.state);
        if let Some(status) = &state.refused {
            return Err(Refused::For(status.clone()));
        }
        let presence = self.presence.borrow().clone();
        let Some(outbox) = state.outbox.clone() else {
            return Err(if self.direct {
                Refused::For(presence.offline())
            } else {
                Refused::NoLink
            });
        };
        if !presence.connected {
            return Err(Refused::For(presence.offline()));
        }
        let stream = state.new_stream();
        call.number(stream);
        state.calls.insert(stream, Arc::clone(call));
        call.attach(&outbox, &presence);
        Ok(())
    }

    pub(crate) async fn open_when_linked(&self, call: &Arc<Call>) -> Result<(), Status> {
        let mut presence = self.presence.subscribe();
        let until = Instant::now() + WAIT_FOR_LINK;
        loop {
            presence.mark_unchanged();
            match self.open(call) {
                Ok(()) => return Ok(()),
                Err(Refused::For(status)) => return Err(status),
                Err(Refused::NoLink) => {}
            }
            match tokio::time::timeout_at(until, presence.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => {
                    return Err(error::status(
                        Code::Unavailable,
                        TunnelErrorReason::ControlPlaneUnreachable,
                        "there is no connection to the control plane",
                        &[],
                    ));
                }
            }
        }
    }
}

enum Refused {
    NoLink,
    For(Status),
}

impl State {
    fn new_stream(&mut self) -> u32 {
        let stream = self.next_stream;
        // Comes round after four thousand million calls; those before it are long over.
        self.next_stream = self.next_stream.checked_add(1).unwrap_or(1);
        stream
    }
}

fn cancel(stream: u32, id: Option<Instance>) -> OutFrame {
    let reset = Reset {
        code: ResetCode::Cancel.into(),
        message: String::new(),
        call_id: id.map_or_else(Default::default, |id| id.as_bytes().to_vec().into()),
    };
    OutFrame::new(stream, Kind::Reset(reset))
}

impl Service<Request<Body>> for Channel {
    type Response = Response<ResponseBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let channel = self.clone();
        Box::pin(async move {
            let inner = Arc::clone(&channel.inner);
            let (parts, body) = request.into_parts();
            let headers = headers::to_frame(&parts.headers).map_err(error::bad_headers)?;
            let deadline = grpc_timeout(&parts.headers).map(|timeout| Instant::now() + timeout);
            let path = parts.uri.path().to_owned();
            let method = inner.methods.get(&path);
            let caller = parts
                .extensions
                .get::<Caller>()
                .map(|caller| Arc::clone(&caller.0));
            let growth = Arc::clone(&inner.growth);
            let windows = inner.windows;
            let call = Call::new(path, headers, method, caller, windows, growth);
            let call = Arc::new(call);
            let guard = Guard::new(channel, Arc::clone(&call));
            let starting = pump::start(&inner, &call, body);
            match deadline {
                None => starting.await?,
                Some(deadline) => tokio::time::timeout_at(deadline, starting)
                    .await
                    .unwrap_or_else(|_| Err(error::deadline_passed()))?,
            }
            let body = ResponseBody::new(guard, deadline);
            body.head().await
        })
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}
