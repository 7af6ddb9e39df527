//! Mode `websocket`: one dial straight to the control plane.

use tokio_util::sync::CancellationToken;
use turbopanel_tunnel::{
    AgentHello, DialHeaders, Server, Target, agent_session, dial, proto::Heartbeat,
};

use super::{Attempt, State};
use crate::{
    VERSION,
    agent::Agent,
    config::Secret,
    engines::host,
    excerpt::{VALUE, excerpt},
};

/// Dials `{CONTROL_PLANE_URL}/agent/connect`.
#[derive(Debug)]
pub struct WebSocket {
    target: Target,
    url: String,
    token: Option<Secret>,
    /// The name, if the operator gave one; else the token says which agent this is.
    name: Option<String>,
}

impl WebSocket {
    /// Dials this control plane, with this token and name.
    pub fn new(control_plane: &Target, token: Option<Secret>, name: Option<String>) -> Self {
        Self {
            target: control_plane.join("/agent/connect"),
            url: control_plane.to_string(),
            token,
            name,
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Dials once, and serves calls until that connection ends. None when the agent stops while it dials.
    pub(super) async fn attempt(
        &self,
        agent: &Agent,
        server: &Server,
        number: u64,
        stop: &CancellationToken,
    ) -> Option<Attempt> {
        let headers = DialHeaders {
            token: self.token.as_ref().map(|token| token.reveal().to_owned()),
            agent: self.name.clone(),
            user_agent: format!("turbopanel-agent/{VERSION}"),
        };
        tracing::debug!(url = %self.target, number, "dialling");
        let socket = match stop.run_until_cancelled(dial(&self.target, &headers)).await {
            Some(Ok(socket)) => socket,
            Some(Err(error)) => return Some(Attempt::Refused(error)),
            None => return None,
        };
        let (beating, running) = (agent.clone(), server.clone());
        let hello = AgentHello {
            agent: self.name.clone(),
            instance: agent.instance(),
            dial: number,
            version: VERSION.to_owned(),
            policy: "full".to_owned(),
            capabilities: agent.capabilities(),
            authority: self.target.authority(),
            signer: None,
            heartbeat: Some(std::sync::Arc::new(move || heartbeat(&beating, &running))),
        };
        let end = agent_session(
            socket,
            hello,
            server,
            |welcome| {
                tracing::info!(
                    control_plane = welcome.control_plane,
                    name = welcome.agent,
                    "connected"
                );
                agent.connection().send_modify(|connection| {
                    connection.enter(State::Connected);
                    connection.connects += 1;
                    let name = excerpt(&welcome.agent, VALUE);
                    connection.name = Some(name).filter(|name| !name.is_empty());
                });
            },
            stop.clone(),
        );
        Some(Attempt::Ended(end.await))
    }
}

fn heartbeat(agent: &Agent, server: &Server) -> Heartbeat {
    let root = agent.host_root();
    Heartbeat {
        calls: server.running_calls() as u32,
        engine_reachable: agent.engine().known().borrow().reachable,
        load1_centi: host::load(root).one.unwrap_or(0) as u32,
        memory_used_bytes: host::memory(root).used(),
    }
}
