//! `FleetService`: which agents there are.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::Arc,
};

use futures_util::stream;
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{error::CallError, page};
use crate::{
    proto::control::{
        Agent, GetAgentRequest, GetAgentResponse, ListAgentsRequest, ListAgentsResponse,
        RemoveAgentRequest, RemoveAgentResponse, WatchAgentsRequest, WatchAgentsResponse,
        fleet_service_server::FleetService, watch_agents_response::Kind,
    },
    registry::{Registry, RegistryError, agents::Snapshot},
};

/// The service over a registry.
#[derive(Clone, Debug)]
pub struct Fleet(pub Arc<Registry>);

#[tonic::async_trait]
impl FleetService for Fleet {
    async fn list_agents(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        let request = request.into_inner();
        let size = page::size(request.page_size);
        let after = page::after("agents", &request.page_token)?;
        let mut found = self.0.agents.after(&after, size + 1);
        let more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some(last) if more => page::token("agents", &last.name),
            Some(_) | None => String::new(),
        };
        Ok(Response::new(ListAgentsResponse {
            agents: found.iter().map(|agent| agent.snapshot().into()).collect(),
            next_page_token,
        }))
    }

    async fn get_agent(
        &self,
        request: Request<GetAgentRequest>,
    ) -> Result<Response<GetAgentResponse>, Status> {
        let name = request.into_inner().name;
        let agent = self.0.agents.find(&name);
        let agent = agent.ok_or_else(|| CallError::from(RegistryError::agent_unknown(&name)))?;
        Ok(Response::new(GetAgentResponse {
            agent: Some(agent.snapshot().into()),
        }))
    }

    type WatchAgentsStream =
        Pin<Box<dyn Stream<Item = Result<WatchAgentsResponse, Status>> + Send>>;

    async fn watch_agents(
        &self,
        _request: Request<WatchAgentsRequest>,
    ) -> Result<Response<Self::WatchAgentsStream>, Status> {
        let watcher = Watcher::new(Arc::clone(&self.0));
        let events = stream::unfold(watcher, async |mut watcher| {
            let event = watcher.next().await?;
            Some((Ok(event), watcher))
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn remove_agent(
        &self,
        request: Request<RemoveAgentRequest>,
    ) -> Result<Response<RemoveAgentResponse>, Status> {
        let name = request.into_inner().name;
        let removed = self.0.remove_agent(&name).await;
        let revoked_tokens = removed.map_err(CallError::from)?;
        tracing::info!(agent = name, revoked_tokens, "the agent was removed");
        Ok(Response::new(RemoveAgentResponse { revoked_tokens }))
    }
}

/// Compares what it has told with what there is, so that a slow reader costs no memory: it is told
/// the newest state, and may miss what came and went in between.
struct Watcher {
    registry: Arc<Registry>,
    changes: watch::Receiver<u64>,
    told: BTreeMap<String, u64>,
    queue: VecDeque<WatchAgentsResponse>,
    synced: bool,
}

impl Watcher {
    fn new(registry: Arc<Registry>) -> Self {
        let mut changes = registry.agents.changes();
        changes.mark_changed();
        Self {
            registry,
            changes,
            told: BTreeMap::new(),
            queue: VecDeque::new(),
            synced: false,
        }
    }

    async fn next(&mut self) -> Option<WatchAgentsResponse> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            self.changes.changed().await.ok()?;
            self.compare();
            if !self.synced {
                self.synced = true;
                self.queue.push_back(WatchAgentsResponse {
                    kind: Kind::Synced.into(),
                    agent: None,
                });
            }
        }
    }

    fn compare(&mut self) {
        let mut gone = std::mem::take(&mut self.told);
        for agent in self.registry.agents.all() {
            let now = agent.snapshot();
            let name = now.record.name.clone();
            let kind = match gone.remove(&name) {
                None => Some(Kind::Present),
                Some(revision) if revision != now.revision => Some(Kind::Changed),
                Some(_) => None,
            };
            self.told.insert(name, now.revision);
            if let Some(kind) = kind {
                self.queue.push_back(WatchAgentsResponse {
                    kind: kind.into(),
                    agent: Some(now.into()),
                });
            }
        }
        for name in gone.into_keys() {
            self.queue.push_back(WatchAgentsResponse {
                kind: Kind::Removed.into(),
                agent: Some(Agent {
                    name,
                    ..Agent::default()
                }),
            });
        }
    }
}

impl From<Snapshot> for Agent {
    fn from(agent: Snapshot) -> Self {
        let connected = agent.connected_at.is_some();
        let last_seen = if connected {
            Some(std::time::SystemTime::now())
        } else {
            agent.record.last_seen_at
        };
        Self {
            name: agent.record.name,
            connected,
            integrated: agent.integrated,
            version: agent.record.version,
            created_at: Some(agent.record.created_at.into()),
            connected_at: agent.connected_at.map(Into::into),
            last_seen_at: last_seen.map(Into::into),
            remote_address: agent.record.remote_address,
            last_disconnect: agent.record.last_disconnect,
            capabilities: agent.record.capabilities,
        }
    }
}
