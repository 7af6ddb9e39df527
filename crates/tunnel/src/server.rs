//! The serving end: runs each call on a tower service, whatever link it is attached to.
//!
//! ```text
//!                 Command                    handler done
//!   (unknown) ──────────────▶ running ─────────────────────▶ finished ──▶ (forgotten)
//!                              ▲   │ link gone                 │   Done, 1 min, or too much kept
//!              Command (again) │   ▼                           │
//!                             detached ── 2 min, too much kept ┴──▶ cancelled
//! ```

mod answer;
mod attach;
mod body;
mod call;
mod table;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tower_service::Service;

use crate::{
    FIRST_WINDOW, MAX_WINDOW, Methods,
    ending::EndReason,
    frames::OutFrame,
    link::{Side, drive},
    outbox::Outbox,
    proto::{self, frame::Kind},
    socket::{Instance, Socket},
    sync::lock,
};

pub(crate) use attach::Attachments;
use table::Table;

/// The authenticated principal on whose behalf a call is made; an extension of each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub Arc<str>);

/// What a serving end allows. The default is what `docs/protocol.md` says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a call whose caller is away goes on.
    pub detached_for: Duration,
    /// How long a finished answer is kept for its caller.
    pub finished_for: Duration,
    /// How long the ids of calls with side effects are remembered.
    pub remembered_for: Duration,
    /// Bytes of answers that are kept in all, at most.
    pub kept_bytes: usize,
    /// Calls that run at once, at most.
    pub max_calls: usize,
    /// The window that each body begins with.
    pub first_window: u64,
    /// How far a window grows while its consumer keeps up.
    pub max_window: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            detached_for: Duration::from_secs(120),
            finished_for: Duration::from_secs(60),
            remembered_for: Duration::from_secs(300),
            kept_bytes: 16 * 1024 * 1024,
            max_calls: 256,
            first_window: FIRST_WINDOW,
            max_window: MAX_WINDOW,
        }
    }
}

/// A caller's own link, served without a relay.
#[derive(Clone, Debug)]
pub struct CallerLink {
    /// The authenticated principal.
    pub caller: String,
    /// The name of whom the caller reaches, for its [`proto::Presence`].
    pub agent: String,
    /// The instance of the process that serves.
    pub instance: Instance,
}

/// A tower service behind any number of links. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) methods: Methods,
    pub(crate) tasks: TaskTracker,
    /// Tasks that only wait for time to pass; a shutdown does not wait for them.
    pub(crate) timers: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) table: Table,
    /// The instance of the control plane that welcomed last.
    control_plane: Mutex<Option<Instance>>,
    handle: Box<dyn Fn(Request<Body>) -> Handling + Send + Sync>,
}

type Handling =
    std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send + 'static>>;

impl Inner {
    pub(crate) fn handle(&self, request: Request<Body>) -> Handling {
        (self.handle)(request)
    }
}

impl Server {
    /// Serves this service, for example tonic's `Routes`. `methods` tells which calls have no side effects.
    pub fn new<S>(service: S, methods: Methods, settings: Settings) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let handle = move |request| -> Handling {
            let mut service = service.clone();
            Box::pin(async move {
                std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(request).await
            })
        };
        let inner = Arc::new(Inner {
            table: Table::new(settings.clone()),
            settings,
            methods,
            tasks: TaskTracker::new(),
            timers: TaskTracker::new(),
            stop: CancellationToken::new(),
            control_plane: Mutex::default(),
            handle: Box::new(handle),
        });
        Self { inner }
    }

    /// Takes no further calls, lets those that run end within `grace`, and cancels the rest.
    pub async fn shutdown(&self, grace: Duration) {
        self.inner.table.refuse_new();
        self.inner.tasks.close();
        if tokio::time::timeout(grace, self.inner.tasks.wait())
            .await
            .is_err()
        {
            self.inner.stop.cancel();
            self.inner.table.cancel_all();
            self.inner.tasks.wait().await;
        }
        self.inner.stop.cancel();
    }

    /// How many calls run now.
    pub fn running_calls(&self) -> usize {
        self.inner.table.running()
    }

    /// A control plane of another instance than the last one has none of the calls that were opened by it.
    pub(crate) fn welcomed_by(&self, instance: &[u8]) {
        let now = Instance::from_bytes(instance);
        let last = std::mem::replace(&mut *lock(&self.inner.control_plane), now);
        if last.is_some() && last != now {
            self.inner.table.cancel_owner(attach::CONTROL_PLANE);
        }
    }

    /// Where a link's frames go.
    pub(crate) fn attach(&self, outbox: Arc<Outbox>, caller: Option<Arc<str>>) -> Attachments {
        Attachments::new(Arc::clone(&self.inner), outbox, caller)
    }

    /// Serves a caller's own link until it ends.
    pub async fn serve_caller(
        &self,
        mut socket: Socket,
        link: CallerLink,
        cancel: CancellationToken,
    ) -> EndReason {
        let outbox = Arc::new(Outbox::new());
        let presence = proto::Presence {
            connected: true,
            instance: link.instance.as_bytes().to_vec().into(),
            dial: 1,
            window: self.inner.settings.first_window,
            agent: link.agent,
            ..proto::Presence::default()
        };
        outbox.push_first(0, OutFrame::new(0, Kind::Presence(presence)));
        let mut calls = self.attach(Arc::clone(&outbox), Some(link.caller.into()));
        calls.expect_instance(link.instance);
        drive(&mut socket, &outbox, Side::Answered, &cancel, |packet| {
            calls.receive(packet).map(|_| ())
        })
        .await
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("running_calls", &self.running_calls())
            .finish_non_exhaustive()
    }
}
