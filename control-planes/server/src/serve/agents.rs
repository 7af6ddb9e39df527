//! `/agent/connect`: where agents dial in, and the life of their connections.

use std::{
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::poll_immediate;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use turbopanel_tunnel::{
    CloseCode, Remote, SessionEnd, Upgrading, greet_agent,
    proto::{Goodbye, Hello},
    upgrade,
};

use super::{answers, calls::AGENT, doors::Doors};
use crate::{
    registry::{Agent, Token, name::tame},
    store::TokenKind,
};

/// How long an upgrade may take after its answer.
const UPGRADE: Duration = Duration::from_secs(10);
/// How long a connection may take to close in order.
const CLOSING: Duration = Duration::from_secs(2);

impl Doors {
    pub(super) async fn agent_connect(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        let token = match self
            .authenticate(request.headers(), TokenKind::Agent, peer)
            .await
        {
            Ok(token) => token,
            Err(refused) => return refused.into_http(),
        };
        let claimed = request.headers().get(AGENT).map(|name| name.to_str());
        match claimed {
            None => {}
            Some(Ok(name)) if name.is_empty() || name == token.name => {}
            Some(name) => {
                let name = tame(name.unwrap_or("?"), 64);
                tracing::warn!(%peer, agent = token.name, claimed = name, "an agent was refused: its token is another agent's");
                return answers::text(
                    StatusCode::CONFLICT,
                    &format!(
                        "the token is of agent {}, but this agent calls itself {name}: unset AGENT_NAME, or use that agent's own token",
                        token.name
                    ),
                );
            }
        }
        let Some(agent) = self.registry.agents.find(&token.name) else {
            return answers::text(
                StatusCode::FORBIDDEN,
                "the agent was removed: have a new token made by `turbopanel token create NAME`",
            );
        };
        let Some(remote) = agent.remote.clone() else {
            return answers::text(
                StatusCode::FORBIDDEN,
                "the agent local runs inside the control plane: choose another name",
            );
        };
        let Ok(permit) = Arc::clone(&self.limits.greetings).try_acquire_owned() else {
            return answers::later(
                StatusCode::SERVICE_UNAVAILABLE,
                5,
                "too many agents are connecting at this moment: come again",
            );
        };
        match upgrade(&mut request) {
            Ok((response, upgrading)) => {
                let session = Session {
                    doors: Arc::clone(&self),
                    token,
                    agent,
                    remote,
                    peer,
                };
                self.links.spawn(session.run(upgrading, permit));
                response
            }
            Err(error) => answers::text(error.status(), &error.to_string()),
        }
    }
}

/// One connection of one agent.
struct Session {
    doors: Arc<Doors>,
    token: Arc<Token>,
    agent: Arc<Agent>,
    remote: Remote,
    peer: SocketAddr,
}

impl Session {
    async fn run(self, upgrading: Upgrading, permit: OwnedSemaphorePermit) {
        let name = &self.agent.name;
        let peer = self.peer;
        let greeting = async {
            let opened = timeout(UPGRADE, upgrading).await.ok()?.ok()?;
            Some(greet_agent(opened.socket().await, &self.doors.greeting.0, name).await)
        };
        let greeted = tokio::select! {
            biased;
            () = self.doors.stopping.cancelled() => None,
            () = self.token.ended().cancelled() => None,
            greeted = greeting => greeted,
        };
        drop(permit);
        let greeted = match greeted {
            Some(Ok(greeted)) => greeted,
            Some(Err(end)) => {
                tracing::warn!(agent = %name, %peer, %end, "an agent did not get as far as the welcome");
                return;
            }
            None => return,
        };
        let link = self.token.link();
        let hello = greeted.hello.clone();
        let cancel = CancellationToken::new();
        let mut running = pin!(self.remote.run_agent(greeted, cancel.clone()));
        // The first poll makes the agent reachable; only then is it shown as connected.
        let end = poll_immediate(&mut running).await;
        let agents = &self.doors.registry.agents;
        let address = peer.ip().to_canonical().to_string();
        agents.connected(&self.agent, &hello, &address, SystemTime::now());
        self.announce(&hello);
        let end = match end {
            Some(end) => Some(end),
            None => {
                let saving = self.doors.registry.save_agent(&self.agent);
                tokio::join!(self.drive(running, &cancel), saving).0
            }
        };
        drop(link);
        let reason = end.map_or_else(
            || "it did not close in time".to_owned(),
            |end| end.to_string(),
        );
        if agents.disconnected(&self.agent, &reason, SystemTime::now()) {
            tracing::info!(agent = %name, %peer, reason, "the agent is gone");
            self.doors.registry.save_agent(&self.agent).await;
        } else {
            tracing::info!(agent = %name, %peer, reason, "an older connection of the agent ended");
        }
    }

    fn announce(&self, hello: &Hello) {
        tracing::info!(
            agent = %self.agent.name,
            peer = %self.peer,
            version = tame(&hello.version, 64),
            dial = hello.dial,
            "the agent is here"
        );
    }

    /// Runs the connection until it ends by itself or has to.
    async fn drive(
        &self,
        mut running: Pin<&mut impl Future<Output = SessionEnd>>,
        cancel: &CancellationToken,
    ) -> Option<SessionEnd> {
        let (code, why) = tokio::select! {
            biased;
            end = &mut running => return Some(end),
            () = self.token.ended().cancelled() => (CloseCode::Revoked, "the agent's token was revoked"),
            () = self.agent.ended().cancelled() => (CloseCode::Revoked, "the agent was removed"),
            () = self.doors.stopping.cancelled() => {
                self.remote.say_goodbye(Goodbye {
                    reason: "the control plane stops".to_owned(),
                    redial_after_ms: 1000,
                    grace_ms: u32::try_from(self.doors.grace.as_millis()).unwrap_or(u32::MAX),
                });
                tokio::select! {
                    biased;
                    end = &mut running => return Some(end),
                    () = self.doors.stopped.cancelled() => (CloseCode::GoingAway, "the control plane stops"),
                }
            }
        };
        self.remote.disconnect(code, why);
        if let Ok(end) = timeout(CLOSING, &mut running).await {
            return Some(end);
        }
        cancel.cancel();
        timeout(CLOSING, running).await.ok()
    }
}
