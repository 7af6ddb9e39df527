//! The agent inside the control plane, named `local`: the agent's own router, called in process.
//! The only place where the control plane uses the agent other than through its contract.

use std::time::{Duration, SystemTime};

use http::{Request, Response};
use tokio::time::timeout;
use tonic::{body::Body, service::Routes};
use tower::ServiceExt;
use turbopanel_agent::{
    Agent,
    engines::docker::EngineAddress,
    router::{self, Deadline},
};

use super::{ServeConfig, ServeError};
use crate::{registry::name::LOCAL, store::AgentRecord};

/// How long the agent's tasks may take to end after their calls, ...
const CLOSING: Duration = Duration::from_secs(1);
/// ... and commands in containers to be killed that lost their caller.
const KILLING: Duration = Duration::from_millis(900);

/// The integrated agent. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Integrated {
    agent: Agent,
    router: Deadline<Routes>,
}

impl Integrated {
    /// Starts the agent.
    pub(super) async fn start(config: &ServeConfig) -> Result<Self, ServeError> {
        let address = config.docker_host.as_deref().unwrap_or_default();
        let address: EngineAddress = address
            .parse()
            .map_err(|error| ServeError::DockerHost(Box::new(error)))?;
        let agent = Agent::integrated(LOCAL, address, Some(config.data_dir.join("agent")));
        let router = router::build(&agent).await;
        Ok(Self { agent, router })
    }

    /// What is known of it, as of any agent.
    pub(super) fn record(&self) -> AgentRecord {
        AgentRecord {
            version: turbopanel_agent::VERSION.to_owned(),
            capabilities: self.agent.capabilities(),
            ..AgentRecord::new(LOCAL.to_owned(), SystemTime::now())
        }
    }

    /// Answers a call in process.
    pub(super) async fn answer(self, request: Request<Body>) -> Response<Body> {
        let answering = self.router.oneshot(request);
        answering.await.unwrap_or_else(|never| match never {})
    }

    /// Takes no further calls.
    pub(super) fn drain(&self) {
        self.agent.draining().cancel();
    }

    /// Waits for the operations that run.
    pub(super) async fn idle(&self) {
        self.agent.operations().idle().await;
    }

    /// Stops the agent, whose calls are over.
    pub(super) async fn stop(&self) {
        self.agent.stop().cancel();
        self.agent.tasks().close();
        if timeout(CLOSING, self.agent.tasks().wait()).await.is_err() {
            tracing::warn!("some work of the integrated agent had to be cut off");
        }
        let _ = timeout(KILLING, self.agent.engine().drained()).await;
    }
}
