//! The agents in memory: whether they are there, and how to reach them.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use turbopanel_tunnel::{Methods, Remote, Settings, proto::Hello};

use super::name::tame;
use crate::store::AgentRecord;

/// An agent that the control plane knows.
#[derive(Debug)]
pub struct Agent {
    /// Its name.
    pub name: Arc<str>,
    /// How it is reached. None for the integrated agent.
    pub remote: Option<Remote>,
    removed: CancellationToken,
    state: Mutex<State>,
    revision: AtomicU64,
}

#[derive(Debug)]
struct State {
    record: AgentRecord,
    connected_at: Option<SystemTime>,
    /// Counts connections, so that an older one's end does not hide a newer one.
    connection: u64,
}

/// An agent as it is at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What is remembered of it.
    pub record: AgentRecord,
    /// It runs inside the control plane.
    pub integrated: bool,
    /// Since when it has been connected.
    pub connected_at: Option<SystemTime>,
    /// Changes with every change of the agent, and is never used twice.
    pub revision: u64,
}

impl Agent {
    /// As it is now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot {
            record: state.record.clone(),
            integrated: self.remote.is_none(),
            connected_at: state.connected_at,
            revision: self.revision.load(Ordering::Acquire),
        }
    }

    /// Cancelled when the agent is removed.
    pub fn removed(&self) -> &CancellationToken {
        &self.removed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every agent, by name.
#[derive(Debug)]
pub struct Agents {
    by_name: RwLock<BTreeMap<Arc<str>, Arc<Agent>>>,
    revision: watch::Sender<u64>,
    methods: Methods,
}

impl Agents {
    pub(super) fn load(records: Vec<AgentRecord>, methods: Methods) -> Self {
        let agents = Self {
            by_name: RwLock::default(),
            revision: watch::Sender::new(0),
            methods,
        };
        for record in records {
            agents.insert(record, false);
        }
        agents
    }

    /// Adds an agent, unless it is there.
    pub(super) fn insert(&self, record: AgentRecord, integrated: bool) -> Arc<Agent> {
        let name: Arc<str> = record.name.as_str().into();
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = by_name.get(&name) {
            return Arc::clone(known);
        }
        let remote = (!integrated).then(|| {
            let remote = Remote::new(&name, self.methods.clone(), &Settings::default());
            remote.set_last_seen(record.last_seen_at);
            remote
        });
        let agent = Arc::new(Agent {
            name: Arc::clone(&name),
            remote,
            removed: CancellationToken::new(),
            state: Mutex::new(State {
                connected_at: integrated.then_some(record.created_at),
                record,
                connection: 0,
            }),
            revision: AtomicU64::new(0),
        });
        by_name.insert(name, Arc::clone(&agent));
        drop(by_name);
        self.changed(&agent);
        agent
    }

    /// Forgets an agent and ends whatever goes on with it.
    pub(super) fn remove(&self, name: &str) {
        let removed = {
            let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
            by_name.remove(name)
        };
        if let Some(agent) = removed {
            agent.removed.cancel();
            self.changed(&agent);
        }
    }

    /// The agent of a name.
    pub fn find(&self, name: &str) -> Option<Arc<Agent>> {
        self.read().get(name).cloned()
    }

    /// Up to `limit` agents after a name.
    pub fn after(&self, name: &str, limit: usize) -> Vec<Arc<Agent>> {
        let from = (Bound::Excluded(name), Bound::Unbounded);
        let by_name = self.read();
        let found = by_name.range::<str, _>(from).take(limit);
        found.map(|(_, agent)| Arc::clone(agent)).collect()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Agent>> {
        self.read().values().cloned().collect()
    }

    /// Wakes on every change of any agent.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Notes that an agent has connected. Returns the number of its connection.
    pub fn connected(&self, agent: &Agent, hello: &Hello, address: &str, now: SystemTime) -> u64 {
        let connection = {
            let mut state = agent.state();
            state.connection = state.connection.saturating_add(1);
            state.connected_at = Some(now);
            state.record.version = tame(&hello.version, 64);
            let capabilities = hello.capabilities.iter().take(64);
            state.record.capabilities = capabilities.map(|word| tame(word, 64)).collect();
            state.record.remote_address = address.to_owned();
            state.record.last_seen_at = Some(now);
            state.connection
        };
        self.changed(agent);
        connection
    }

    /// Notes that a connection of an agent has ended. `true` when no newer one has taken its place.
    pub fn disconnected(
        &self,
        agent: &Agent,
        connection: u64,
        reason: &str,
        now: SystemTime,
    ) -> bool {
        {
            let mut state = agent.state();
            if state.connection != connection {
                return false;
            }
            state.connected_at = None;
            state.record.last_seen_at = Some(now);
            state.record.last_disconnect = tame(reason, 256);
        }
        self.changed(agent);
        true
    }

    /// The names of the remote agents that are connected.
    pub(super) fn connected_names(&self) -> Vec<String> {
        let by_name = self.read();
        let there = by_name
            .values()
            .filter(|agent| agent.remote.is_some() && agent.state().connected_at.is_some());
        there.map(|agent| agent.name.to_string()).collect()
    }

    fn changed(&self, agent: &Agent) {
        self.revision.send_modify(|revision| {
            *revision = revision.saturating_add(1);
            agent.revision.store(*revision, Ordering::Release);
        });
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<Arc<str>, Arc<Agent>>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner)
    }
}
