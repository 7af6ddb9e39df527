//! What one agent is: its name and instance, the engine it manages, and the state of its connection.

use std::{path::PathBuf, sync::Arc, time::Instant};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use turbopanel_tunnel::{Instance, Methods};

use crate::{
    connect::Connection,
    engines::{
        docker::{Engine, EngineAddress},
        host::{self, HostRoot},
        metrics::Metrics,
        stacks::{Stacks, plugin::Finder},
    },
    operations::Operations,
    proto,
    tally::Tally,
};

/// One agent. Cheap to clone.
#[derive(Clone)]
pub struct Agent {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    mode: &'static str,
    instance: Instance,
    started: Instant,
    engine: Engine,
    host_root: HostRoot,
    metrics: Metrics,
    tally: Tally,
    connection: watch::Sender<Connection>,
    operations: Operations,
    stacks: Stacks,
    tasks: TaskTracker,
    stop: CancellationToken,
    draining: CancellationToken,
}

impl Agent {
    /// An agent with a connection of its own. It goes by this name until its control plane names it. What must
    /// outlive it is kept in the state directory; without one, in memory alone.
    pub fn new(
        name: String,
        mode: &'static str,
        engine: EngineAddress,
        host_root: HostRoot,
        connection: Connection,
        state_dir: Option<PathBuf>,
    ) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let engine = Engine::below(host_root.path("/".as_ref()), engine);
        let stacks = Stacks::new(engine.clone(), Finder::default(), state_dir.as_deref());
        Self {
            inner: Arc::new(Inner {
                name,
                mode,
                instance: Instance::random(),
                started: Instant::now(),
                metrics: Metrics::new(engine.clone(), host_root.clone()),
                tally: Tally::default(),
                engine,
                host_root,
                connection: watch::Sender::new(connection),
                operations: Operations::open(state_dir, tasks.clone(), stop.clone()),
                stacks,
                tasks,
                draining: stop.child_token(),
                stop,
            }),
        }
    }

    /// An agent inside a control plane: no connection, no port, no token of its own.
    pub fn integrated(name: &str, engine: EngineAddress, state_dir: Option<PathBuf>) -> Self {
        Self::new(
            name.to_owned(),
            "integrated",
            engine,
            HostRoot::default(),
            Connection::integrated(),
            state_dir,
        )
    }

    /// The agent's name: the control plane's for it; before that was heard, the operator's or the host's.
    pub fn name(&self) -> String {
        let known = self.inner.connection.borrow().name.clone();
        known.unwrap_or_else(|| self.inner.name.clone())
    }

    /// How it reaches its control plane, as the status tells it.
    pub fn mode(&self) -> &'static str {
        self.inner.mode
    }

    /// Names this run of the agent.
    pub fn instance(&self) -> Instance {
        self.inner.instance
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.inner.started
    }

    /// The container engine that it manages.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Where the host's root is.
    pub fn host_root(&self) -> &HostRoot {
        &self.inner.host_root
    }

    /// The figures of its host and containers.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// What it has been asked.
    pub fn tally(&self) -> &Tally {
        &self.inner.tally
    }

    /// The state of its connection; whoever connects sends what changes.
    pub fn connection(&self) -> &watch::Sender<Connection> {
        &self.inner.connection
    }

    /// Work that outlives the call that began it.
    pub fn operations(&self) -> &Operations {
        &self.inner.operations
    }

    /// Its stacks.
    pub fn stacks(&self) -> &Stacks {
        &self.inner.stacks
    }

    /// Where its tasks run, so that a stop can wait for them.
    pub fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    /// Cancelled when the agent begins to stop: what only reads ends, and what changes something may end by itself.
    pub fn draining(&self) -> &CancellationToken {
        &self.inner.draining
    }

    /// Cancelled when the agent stops: whatever still runs ends.
    pub fn stop(&self) -> &CancellationToken {
        &self.inner.stop
    }

    /// What it can do on this host.
    pub fn capabilities(&self) -> Vec<String> {
        let mut able = vec![
            "containers",
            "logs",
            "metrics",
            "operations",
            "images",
            "networks",
            "volumes",
            "engine",
            "commands.container",
        ];
        if host::has_programs() {
            able.push("commands.host");
        }
        if self.inner.stacks.is_available() {
            able.push("stacks");
        }
        able.into_iter().map(str::to_owned).collect()
    }

    /// What the tunnel must know of the agent's methods.
    pub fn methods() -> Methods {
        // The set is made by this crate's own build; should it not decode, every method counts as interactive.
        Methods::from_descriptor_set(proto::FILE_DESCRIPTOR_SET).unwrap_or_default()
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("name", &self.inner.name)
            .field("mode", &self.inner.mode)
            .finish_non_exhaustive()
    }
}
