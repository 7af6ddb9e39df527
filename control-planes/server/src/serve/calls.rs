//! gRPC calls of callers who are let in: to the control plane's own services, to the integrated
//! agent, or forwarded to an agent. Payloads are never parsed.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Request, Response, header};
use tonic::{Status, body::Body, service::Routes};
use tower::ServiceExt;
use turbopanel_tunnel::{Caller, Methods, Remote, grpc_timeout};

use super::{
    integrated::Integrated,
    live::{Live, Terms},
};
use crate::{
    registry::{Agent, Registry, RegistryError, Token, name},
    services::error::CallError,
};

/// The metadata that names the agent of a call.
pub(super) const AGENT: HeaderName = HeaderName::from_static("turbopanel-agent");

/// Headers that concern this hop, or that are no business of an agent.
const STAYS_HERE: [HeaderName; 11] = [
    header::CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::AUTHORIZATION,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    AGENT,
];

/// Who answers a call.
enum Target {
    Own,
    Integrated(Arc<Agent>, Integrated),
    Remote(Arc<Agent>, Remote),
}

/// Finds who answers a call, and has it answered.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) registry: Arc<Registry>,
    pub(super) own: Routes,
    pub(super) integrated: Option<Integrated>,
    /// What every method says of itself.
    pub(super) methods: Methods,
    pub(super) live: Arc<Live>,
}

impl Calls {
    /// Answers a call. `token` let the caller in; none for the few calls that need none.
    pub(super) async fn answer(
        &self,
        request: Request<Body>,
        token: Option<Arc<Token>>,
    ) -> Response<Body> {
        match self.target(&request) {
            Ok(target) => self.answer_by(target, request, token).await,
            Err(error) => Status::from(error).into_http(),
        }
    }

    /// Has the integrated agent answer a call.
    pub(super) async fn answer_locally(
        &self,
        request: Request<Body>,
        token: Arc<Token>,
    ) -> Response<Body> {
        match self.agent(name::LOCAL) {
            Ok(target) => self.answer_by(target, request, Some(token)).await,
            Err(error) => Status::from(error).into_http(),
        }
    }

    async fn answer_by(
        &self,
        target: Target,
        mut request: Request<Body>,
        token: Option<Arc<Token>>,
    ) -> Response<Body> {
        if let Some(token) = &token {
            request
                .extensions_mut()
                .insert(Caller(Arc::clone(&token.id)));
        }
        let path = request.uri().path();
        // Health and reflection, which describe themselves not, only read.
        let reads = self.methods.get(path).no_side_effects || path.starts_with("/grpc.");
        let mut terms = Terms {
            token,
            agent: None,
            timeout: grpc_timeout(request.headers()),
            reads,
        };
        match target {
            Target::Own => {
                let answering = self.own.clone().oneshot(request);
                let answering =
                    async move { Ok(answering.await.unwrap_or_else(|never| match never {})) };
                self.live.run(terms, answering).await
            }
            Target::Integrated(agent, integrated) => {
                terms.agent = Some(agent);
                strip(request.headers_mut());
                let answering = async move { Ok(integrated.answer(request).await) };
                self.live.run(terms, answering).await
            }
            Target::Remote(agent, remote) => {
                terms.agent = Some(agent);
                strip(request.headers_mut());
                let answering = remote.channel().oneshot(request);
                self.live.run(terms, answering).await
            }
        }
    }

    fn target(&self, request: &Request<Body>) -> Result<Target, CallError> {
        let path = request.uri().path();
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        let service = service.map_or("", |(service, _)| service);
        let mut names = request.headers().get_all(AGENT).iter();
        let named = match (names.next(), names.next()) {
            (None, _) => None,
            (Some(name), None) => Some(name.to_str().map_err(|_| CallError::AgentName)?),
            (Some(_), Some(_)) => return Err(CallError::AgentName),
        };
        // These are answered here whatever agent is named. Reflection too: tools ask it first, and take
        // the refusal of an agent that is unknown or away for a service that does not exist.
        let own =
            service.starts_with("turbopanel.control.") || service.starts_with("grpc.reflection.");
        match named {
            Some(named) if !own => {
                if !name::is_agent_name(named) {
                    return Err(CallError::AgentName);
                }
                self.agent(named)
            }
            Some(_) | None if own || service.starts_with("grpc.") => Ok(Target::Own),
            Some(_) | None if service.starts_with("turbopanel.agent.") => {
                Err(CallError::AgentNotNamed(service.to_owned()))
            }
            Some(_) | None => Err(CallError::Unimplemented(name::tame(path, 200))),
        }
    }

    fn agent(&self, named: &str) -> Result<Target, CallError> {
        let unknown = || RegistryError::AgentUnknown(named.to_owned());
        let agent = self.registry.agents.find(named).ok_or_else(unknown)?;
        if let Some(refusal) = agent.refusal() {
            return Err(refusal.into());
        }
        match (agent.remote.clone(), &self.integrated) {
            (Some(remote), _) => Ok(Target::Remote(agent, remote)),
            (None, Some(integrated)) => Ok(Target::Integrated(agent, integrated.clone())),
            (None, None) => Err(unknown().into()),
        }
    }
}

/// Whether this is the one call that needs no token: is the control plane alive?
pub(super) fn needs_no_token(request: &Request<Body>) -> bool {
    request.uri().path() == "/grpc.health.v1.Health/Check" && !request.headers().contains_key(AGENT)
}

fn strip(headers: &mut HeaderMap) {
    for name in STAYS_HERE {
        headers.remove(name);
    }
}
