//! `AgentService`: who the agent is, how it is connected, how its host is doing.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, sleep_until};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::error::{self, invalid};
use crate::{
    VERSION,
    agent::Agent,
    connect::{Connection, State},
    engines::{docker::EngineStatus, host},
    proto::{
        self, AgentStatus, ConnectionStatus, GetStatusRequest, GetStatusResponse, HostStatus,
        WatchStatusRequest, WatchStatusResponse, agent_service_server::AgentService,
        connection_status::State as StateName,
    },
};

/// Answers for one agent.
#[derive(Clone, Debug)]
pub struct AgentApi {
    agent: Agent,
}

impl AgentApi {
    /// Answers for this agent.
    pub fn new(agent: Agent) -> Self {
        Self { agent }
    }
}

#[tonic::async_trait]
impl AgentService for AgentApi {
    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let engine = self.agent.engine().status().await;
        let status = Some(status(&self.agent, engine));
        Ok(Response::new(GetStatusResponse { status }))
    }

    type WatchStatusStream =
        Pin<Box<dyn Stream<Item = Result<WatchStatusResponse, Status>> + Send>>;

    async fn watch_status(
        &self,
        request: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let interval = interval(request.into_inner().interval)?;
        let (send, receive) = tokio::sync::mpsc::channel(1);
        let agent = self.agent.clone();
        self.agent.tasks().spawn(async move {
            let (mut engine, mut connection) =
                (agent.engine().watch(), agent.connection().subscribe());
            // The first message says what is so, not that nobody has asked yet.
            tokio::select! {
                biased;
                () = send.closed() => return,
                () = agent.draining().cancelled() => {}
                _ = agent.engine().status() => {}
            }
            loop {
                let engine_now = engine.borrow_and_update().clone();
                connection.mark_unchanged();
                let status = Some(status(&agent, engine_now));
                if send.send(Ok(WatchStatusResponse { status })).await.is_err() {
                    return;
                }
                tokio::select! {
                    biased;
                    () = send.closed() => return,
                    () = agent.draining().cancelled() => {
                        let _ = send.send(Err(error::stopping())).await;
                        return;
                    }
                    _ = engine.changed() => {}
                    _ = connection.changed() => {}
                    () = sleep_until(Instant::now() + interval) => {}
                }
            }
        });
        let stream = tokio_stream::wrappers::ReceiverStream::new(receive);
        Ok(Response::new(Box::pin(stream)))
    }
}

/// The time between two messages of a stream.
pub(super) fn interval(asked: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let Some(asked) = asked else {
        return Ok(Duration::from_secs(10));
    };
    let mend = "must be between 1 s and 1 h";
    let refused = || invalid("interval", &asked.to_string(), mend);
    let interval = Duration::try_from(asked).map_err(|_| refused())?;
    if (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&interval) {
        Ok(interval)
    } else {
        Err(refused())
    }
}

fn status(agent: &Agent, engine: EngineStatus) -> AgentStatus {
    let host = host::read(agent.host_root());
    let memory = host.memory;
    let available = memory.available.or(memory.free);
    AgentStatus {
        name: agent.name(),
        instance: agent.instance().to_string(),
        version: VERSION.to_owned(),
        mode: agent.mode().to_owned(),
        uptime: agent.started().elapsed().try_into().ok(),
        connection: Some(connection(&agent.connection().borrow())),
        engine: Some(proto::EngineStatus {
            reachable: engine.reachable,
            address: engine.address,
            version: engine.version,
            api_version: engine.api_version,
            error: engine.error,
        }),
        capabilities: agent.capabilities(),
        host: Some(HostStatus {
            hostname: host.hostname,
            kernel: host.kernel,
            architecture: host.architecture,
            uptime: host.uptime.try_into().ok(),
            cpus: host.cpus,
            load1: host.load.0,
            load5: host.load.1,
            load15: host.load.2,
            memory_total_bytes: memory.total.unwrap_or_default(),
            memory_available_bytes: available.unwrap_or_default(),
            swap_total_bytes: memory.swap_total.unwrap_or_default(),
            swap_free_bytes: memory.swap_free.unwrap_or_default(),
            disk_total_bytes: host.disk_total,
            disk_available_bytes: host.disk_available,
        }),
    }
}

fn connection(connection: &Connection) -> ConnectionStatus {
    let state = match connection.state {
        State::Connecting => StateName::Connecting,
        State::Connected => StateName::Connected,
        State::Waiting => StateName::Waiting,
        State::Integrated => StateName::Integrated,
    };
    ConnectionStatus {
        state: state.into(),
        since: Some(connection.since.into()),
        control_plane_url: connection.url.clone(),
        connects: connection.connects,
        last_error: connection.last_error.clone(),
        insecure: connection.insecure,
    }
}
