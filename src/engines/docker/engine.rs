//! The engine as the rest of the agent sees it.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    address::EngineAddress,
    error::{Error, Subject},
    logfile::LogFiles,
    status::{EngineStatus, Known, Watch},
    stream::{Stream, StreamRequest},
    transport::{self, Deadlines, Transport},
};

/// A status this young is given without asking again.
const FRESH: Duration = Duration::from_secs(5);
/// An engine that closes idle connections sooner than this is not asked more often for that.
const BRIEF: Duration = Duration::from_secs(60);
/// The longest time between two probes while the engine is away.
const AWAY: Duration = Duration::from_secs(30);

/// A container engine that may be there or not. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    docker: bollard::Docker,
    transport: Arc<Transport>,
    log_files: LogFiles,
    probing: AtomicBool,
    stop: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("address", &self.inner.transport.address)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine at this address. Nothing is connected to before the first call.
    pub fn new(address: EngineAddress) -> Self {
        Self::with_deadlines(address, Deadlines::default())
    }

    /// As [`Engine::new`], with other deadlines.
    pub fn with_deadlines(address: EngineAddress, deadlines: Deadlines) -> Self {
        Self::build(address, deadlines, PathBuf::from("/"))
    }

    /// As [`Engine::new`]; the files of its host are below this folder.
    pub fn below(root: PathBuf, address: EngineAddress) -> Self {
        Self::build(address, Deadlines::default(), root)
    }

    fn build(address: EngineAddress, deadlines: Deadlines, root: PathBuf) -> Self {
        let transport = Arc::new(Transport {
            known: Known::new(address.to_string()),
            address,
            deadlines,
            tasks: TaskTracker::new(),
        });
        let docker = transport::docker(Arc::clone(&transport));
        Self {
            inner: Arc::new(Inner {
                docker,
                transport,
                log_files: LogFiles::below(root),
                probing: AtomicBool::new(false),
                stop: CancellationToken::new(),
            }),
        }
    }

    /// Where the engine is expected.
    pub fn address(&self) -> &EngineAddress {
        &self.inner.transport.address
    }

    /// What is known of the engine; it is asked when nothing was learnt in the last seconds.
    pub async fn status(&self) -> EngineStatus {
        let known = &self.inner.transport.known;
        if known.learnt().is_none_or(|at| at.elapsed() > FRESH) {
            // The outcome is in the status.
            let _ = self.inner.transport.probe().await;
            self.probe_while_away();
        }
        known.sender().borrow().clone()
    }

    /// Follows the status. While somebody does, the engine is asked now and then.
    pub fn watch(&self) -> Watch {
        let watch = self.inner.transport.known.watch();
        self.start_probing();
        watch
    }

    /// What is known of the engine, and what becomes known. Nothing is asked for it.
    pub fn known(&self) -> watch::Receiver<EngineStatus> {
        self.inner.transport.known.sender().subscribe()
    }

    /// Asks now, and from then on notices when the engine goes and when it is back.
    pub fn attend(&self) {
        let attending = attend(Arc::downgrade(&self.inner));
        let stop = self.inner.stop.clone();
        let tasks = &self.inner.transport.tasks;
        tasks.spawn(stop.run_until_cancelled_owned(attending));
    }

    /// Stops asking, and waits for the engine's own tasks: connections that end with their calls,
    /// kills that are under way. The caller sets the deadline.
    pub async fn drained(&self) {
        self.inner.stop.cancel();
        self.inner.transport.tasks.close();
        self.inner.transport.tasks.wait().await;
    }

    /// The deadlines in use.
    pub fn deadlines(&self) -> Deadlines {
        self.inner.transport.deadlines
    }

    pub(super) fn transport(&self) -> &Arc<Transport> {
        &self.inner.transport
    }

    pub(super) fn log_files(&self) -> &LogFiles {
        &self.inner.log_files
    }

    pub(super) fn docker(&self) -> &bollard::Docker {
        &self.inner.docker
    }

    /// Sends a request whose answer has no content, and returns its status.
    pub(super) async fn send(
        &self,
        method: &'static str,
        path: &str,
        subject: Subject<'_>,
        deadline: Duration,
    ) -> Result<u16, Error> {
        let request = StreamRequest {
            method,
            path,
            body: "",
            upgrade: false,
            subject,
            deadline,
        };
        let sent = Stream::open(&self.inner.transport, request).await;
        self.probe_while_away();
        Ok(sent?.status())
    }

    /// Runs a call that waits for nothing. Past its deadline the connection is closed, and the engine
    /// counts as unreachable. Agreeing on a version comes before, within a deadline of its own.
    pub(super) async fn call<T>(
        &self,
        subject: Subject<'_>,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Error> {
        let transport = &self.inner.transport;
        let deadline = transport.deadlines.call;
        let outcome = match transport.api_version().await {
            Ok(_) => match timeout(deadline, call).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => {
                    Error::from_bollard(error, &transport.address.to_string(), subject)
                }
                Err(_) => transport.broke(format!("no answer in {} s", deadline.as_secs_f32())),
            },
            Err(error) => error,
        };
        if matches!(
            outcome,
            Error::Unreachable { .. } | Error::NoAnswer { .. } | Error::AccessDenied { .. }
        ) {
            self.probe_while_away();
        }
        Err(outcome)
    }

    pub(super) fn probe_while_away(&self) {
        let known = &self.inner.transport.known;
        if known.learnt().is_some() && !known.sender().borrow().reachable {
            self.start_probing();
        }
    }

    fn start_probing(&self) {
        if !self.inner.probing.swap(true, Ordering::AcqRel) {
            let engine = Arc::downgrade(&self.inner);
            let stop = self.inner.stop.clone();
            let tasks = &self.inner.transport.tasks;
            tasks.spawn(stop.run_until_cancelled_owned(probe_slowly(engine)));
        }
    }
}

/// Asks the engine now and then, as long as somebody watches or it is away.
async fn probe_slowly(engine: Weak<Inner>) {
    let mut away = Duration::from_secs(1);
    loop {
        let pause = {
            let Some(inner) = engine.upgrade() else {
                return;
            };
            let _ = inner.transport.probe().await;
            let known = &inner.transport.known;
            let status = known.sender();
            let reachable = status.borrow().reachable;
            if reachable && !known.is_watched() {
                inner.probing.store(false, Ordering::Release);
                // Somebody may have begun to watch just now, and saw the flag still set.
                if !known.is_watched() || inner.probing.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
            if reachable {
                away = Duration::from_secs(1);
                inner.transport.deadlines.watch
            } else {
                away = (away * 2).min(AWAY);
                away
            }
        };
        sleep(pause).await;
    }
}

/// Holds an idle connection, which ends when the engine does. Nothing is polled, so a quiet engine costs nothing.
async fn attend(engine: Weak<Inner>) {
    let mut pause = Duration::ZERO;
    loop {
        let Some(inner) = engine.upgrade() else {
            return;
        };
        let transport = Arc::clone(&inner.transport);
        let reached = transport.probe().await.is_ok();
        Engine { inner }.probe_while_away();
        if !reached {
            let mut status = transport.known.sender().subscribe();
            // The sender is the transport's own.
            let _ = status.wait_for(|status| status.reachable).await;
        }
        sleep(pause).await;
        let began = Instant::now();
        if let Ok(socket) = transport.connect().await {
            socket.ended().await;
        }
        pause = if began.elapsed() < BRIEF {
            (pause * 2).clamp(Duration::from_secs(1), AWAY)
        } else {
            Duration::ZERO
        };
    }
}
