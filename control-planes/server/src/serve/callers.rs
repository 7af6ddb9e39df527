//! `/client/connect`: where callers over frames come in. With `?agent=NAME` they reach that agent,
//! without it the control plane's own services.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use turbopanel_tunnel::{CallerLink, EndReason, Socket, Upgrading, upgrade};

use super::{answers, doors::Doors};
use crate::{
    registry::{Agent, RegistryError, Token},
    store::TokenKind,
};

const UPGRADE: Duration = Duration::from_secs(10);
const CLOSING: Duration = Duration::from_secs(2);

impl Doors {
    pub(super) async fn client_connect(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        let token = match self
            .authenticate(request.headers(), TokenKind::Admin, peer)
            .await
        {
            Ok(token) => token,
            Err(refused) => return refused.into_http(),
        };
        let agent = match agent_of(request.uri().query().unwrap_or_default()) {
            None => None,
            Some(name) => match self.registry.agents.find(name) {
                Some(agent) => Some(agent),
                None => {
                    let error = RegistryError::agent_unknown(name);
                    return answers::error(StatusCode::NOT_FOUND, error.into());
                }
            },
        };
        if let Some(refusal) = agent.as_ref().and_then(|agent| agent.refusal()) {
            return answers::error(StatusCode::FORBIDDEN, refusal.into());
        }
        let Ok(permit) = Arc::clone(&self.limits.callers).try_acquire_owned() else {
            return answers::later(
                StatusCode::SERVICE_UNAVAILABLE,
                5,
                "too many callers are connected: come again",
            );
        };
        match upgrade(&mut request) {
            Ok((response, upgrading)) => {
                let link = Link {
                    doors: Arc::clone(&self),
                    token,
                    agent,
                };
                self.links.spawn(link.run(upgrading, permit));
                response
            }
            Err(error) => answers::text(error.status(), &error.to_string()),
        }
    }
}

/// The agent that a query names.
fn agent_of(query: &str) -> Option<&str> {
    query
        .split('&')
        .find_map(|part| part.strip_prefix("agent="))
}

/// One connection of one caller.
struct Link {
    doors: Arc<Doors>,
    token: Arc<Token>,
    agent: Option<Arc<Agent>>,
}

impl Link {
    async fn run(self, upgrading: Upgrading, _permit: OwnedSemaphorePermit) {
        let _link = self.token.link();
        let Ok(Ok(opened)) = timeout(UPGRADE, upgrading).await else {
            return;
        };
        let cancel = CancellationToken::new();
        let mut running = pin!(self.serve(opened.socket().await, cancel.clone()));
        let agent_ended = async {
            match &self.agent {
                Some(agent) => agent.ended().cancelled().await,
                None => std::future::pending().await,
            }
        };
        // A remote agent keeps its calls for the caller, who dials again; others end with this process.
        let stop = match self.agent.as_ref().map(|agent| &agent.remote) {
            Some(Some(_)) => &self.doors.stopping,
            Some(None) | None => &self.doors.stopped,
        };
        let end = tokio::select! {
            biased;
            end = &mut running => Some(end),
            () = self.token.ended().cancelled() => None,
            () = agent_ended => None,
            () = stop.cancelled() => None,
        };
        let end = match end {
            Some(end) => Some(end),
            None => {
                cancel.cancel();
                timeout(CLOSING, running).await.ok()
            }
        };
        if self.token.ended().is_cancelled()
            && let Some(remote) = self.agent.as_ref().and_then(|agent| agent.remote.as_ref())
        {
            // What came by this link after the token was revoked.
            remote.revoke_caller(&self.token.id);
        }
        let end = end.map_or_else(
            || "it did not close in time".to_owned(),
            |end| end.to_string(),
        );
        tracing::debug!(token = %self.token.id, end, "a caller's connection ended");
    }

    async fn serve(&self, socket: Socket, cancel: CancellationToken) -> EndReason {
        let caller = self.token.id.to_string();
        let link = |agent: &str| CallerLink {
            caller: caller.clone(),
            agent: agent.to_owned(),
            instance: self.doors.instance,
        };
        let Some(agent) = &self.agent else {
            return self
                .doors
                .frames
                .serve_caller(socket, link(""), cancel)
                .await;
        };
        match (&agent.remote, &self.doors.local) {
            (Some(remote), _) => remote.run_caller(socket, &caller, cancel).await,
            (None, Some(local)) => local.serve_caller(socket, link(&agent.name), cancel).await,
            (None, None) => EndReason::Cut("the agent is not there".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_names_the_agent() {
        assert_eq!(agent_of("agent=web-2"), Some("web-2"));
        assert_eq!(agent_of("x=1&agent=web-2&y=2"), Some("web-2"));
        assert_eq!(agent_of("agents=web-2"), None);
        assert_eq!(agent_of(""), None);
    }
}
