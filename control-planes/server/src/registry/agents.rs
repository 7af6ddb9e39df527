//! The agents in memory: whether they are there, and how to reach them.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use turbopanel_tunnel::{Instance, Methods, Presence, Remote, Settings, proto::Hello};

use super::{RegistryError, name::tame};
use crate::store::AgentRecord;

/// An agent that the control plane knows, until it is removed or loses its token: then everything that
/// goes on with it ends, and if it stays known, another one takes its place.
#[derive(Debug)]
pub struct Agent {
    /// Its name.
    pub name: Arc<str>,
    /// How it is reached. None for the integrated agent.
    pub remote: Option<Remote>,
    ended: CancellationToken,
    /// It has a token, or needs none.
    admitted: AtomicBool,
    state: Mutex<State>,
    revision: AtomicU64,
}

#[derive(Debug)]
struct State {
    record: AgentRecord,
    connected_at: Option<SystemTime>,
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

    /// Cancelled when the agent is removed or loses its token.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Why it cannot be called, however long one waits.
    pub fn refusal(&self) -> Option<RegistryError> {
        let name = || self.name.to_string();
        if !self.admitted.load(Ordering::Acquire) {
            Some(RegistryError::AgentShutOut(name()))
        } else if self.ended.is_cancelled() {
            Some(RegistryError::AgentUnknown(name()))
        } else {
            None
        }
    }

    /// What the relay knows, which alone sees in which order connections come.
    fn presence(&self) -> Option<Presence> {
        let remote = self.remote.as_ref()?;
        Some(remote.presence().borrow().clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type ByName = BTreeMap<Arc<str>, Arc<Agent>>;

/// Every agent, by name.
#[derive(Debug)]
pub struct Agents {
    by_name: RwLock<ByName>,
    revision: watch::Sender<u64>,
    methods: Methods,
}

impl Agents {
    /// Knows these agents. `admitted` names those that have a token.
    pub(super) fn load(
        records: Vec<AgentRecord>,
        admitted: &HashSet<String>,
        methods: Methods,
    ) -> Self {
        let agents = Self {
            by_name: RwLock::default(),
            revision: watch::Sender::new(0),
            methods,
        };
        for record in records {
            let admitted = admitted.contains(&record.name);
            agents.put(agents.agent(record, admitted));
        }
        agents
    }

    /// Adds the integrated agent.
    pub(super) fn integrate(&self, record: AgentRecord) {
        self.put(Agent {
            remote: None,
            state: Mutex::new(State {
                connected_at: Some(record.created_at),
                record: record.clone(),
            }),
            ..self.agent(record, true)
        });
    }

    /// Lets an agent in that has got a token, and adds it unless it is there.
    pub(super) fn admit(&self, record: AgentRecord) {
        match self.find(&record.name) {
            Some(known) => known.admitted.store(true, Ordering::Release),
            None => self.put(self.agent(record, true)),
        }
    }

    /// Shuts an agent out that has lost its token, and ends whatever goes on with it. Returns it as it is from now on.
    pub(super) fn shut_out(&self, name: &str, now: SystemTime) -> Option<Arc<Agent>> {
        let old = self.find(name)?;
        let mut record = old.state().record.clone();
        if old.state().connected_at.is_some() {
            record.last_seen_at = Some(now);
            "its token was revoked".clone_into(&mut record.last_disconnect);
        }
        // In its place before it ends: whoever calls again then is told why.
        self.put(self.agent(record, false));
        old.admitted.store(false, Ordering::Release);
        old.ended.cancel();
        self.find(name)
    }

    /// Forgets an agent and ends whatever goes on with it.
    pub(super) fn remove(&self, name: &str) {
        let removed = self.write().remove(name);
        if let Some(agent) = removed {
            agent.ended.cancel();
            self.changed(&agent);
        }
    }

    fn agent(&self, record: AgentRecord, admitted: bool) -> Agent {
        let remote = Remote::new(&record.name, self.methods.clone(), &Settings::default());
        remote.set_last_seen(record.last_seen_at);
        Agent {
            name: record.name.as_str().into(),
            remote: Some(remote),
            ended: CancellationToken::new(),
            admitted: AtomicBool::new(admitted),
            state: Mutex::new(State {
                connected_at: None,
                record,
            }),
            revision: AtomicU64::new(0),
        }
    }

    fn put(&self, agent: Agent) {
        let agent = Arc::new(agent);
        self.write()
            .insert(Arc::clone(&agent.name), Arc::clone(&agent));
        self.changed(&agent);
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

    /// Notes that an agent has connected, unless a newer connection has taken the place of this one.
    pub fn connected(&self, agent: &Agent, hello: &Hello, address: &str, now: SystemTime) {
        {
            let mut state = agent.state();
            let presence = agent.presence();
            let is_newest = presence.is_some_and(|presence| {
                let instance = Instance::from_bytes(&hello.instance);
                presence.connected && presence.instance == instance && presence.dial == hello.dial
            });
            if !is_newest {
                return;
            }
            state.connected_at = Some(now);
            state.record.version = tame(&hello.version, 64);
            let capabilities = hello.capabilities.iter().take(64);
            state.record.capabilities = capabilities.map(|word| tame(word, 64)).collect();
            state.record.remote_address = address.to_owned();
            state.record.last_seen_at = Some(now);
        }
        self.changed(agent);
    }

    /// Notes that a connection of an agent has ended. `true` when no newer one, and no newer agent, has taken its place.
    pub fn disconnected(&self, agent: &Agent, reason: &str, now: SystemTime) -> bool {
        {
            let mut state = agent.state();
            let is_here = agent.presence().is_some_and(|presence| presence.connected);
            if is_here || agent.ended.is_cancelled() {
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

    fn read(&self) -> RwLockReadGuard<'_, ByName> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, ByName> {
        self.by_name.write().unwrap_or_else(PoisonError::into_inner)
    }
}
