//! The doors of the one port: which of them a request is for, and whether its token opens it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, body::Body};
use turbopanel_tunnel::{Instance, PlaneHello, Server};

use super::{
    answers,
    calls::{Calls, needs_no_token},
    refusals::Refusals,
};
use crate::{
    registry::{Refusal, Registry, Token},
    services::error::CallError,
    store::TokenKind,
};

/// Refusals that wait at once, at most.
const WAITING_REFUSALS: usize = 256;
/// Agents between their upgrade and their welcome, at most.
const GREETINGS: usize = 512;
/// Callers over frames, at most.
const CALLERS: usize = 4096;

/// What every connection shares.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) registry: Arc<Registry>,
    pub(super) calls: Arc<Calls>,
    /// The control plane's own services, for callers over frames.
    pub(super) frames: Server,
    /// The integrated agent, for callers over frames.
    pub(super) local: Option<Server>,
    pub(super) greeting: Greeting,
    pub(super) instance: Instance,
    /// The links of agents and of callers over frames.
    pub(super) links: TaskTracker,
    /// Cancelled when a stop was asked for.
    pub(super) stopping: CancellationToken,
    /// Cancelled when the time to drain is over.
    pub(super) stopped: CancellationToken,
    pub(super) grace: Duration,
    pub(super) limits: Limits,
}

/// How agents are greeted.
pub(super) struct Greeting(pub(super) PlaneHello);

impl std::fmt::Debug for Greeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Greeting").field(&self.0.name).finish()
    }
}

/// How much goes on at once, at most.
#[derive(Debug)]
pub(super) struct Limits {
    refusals: Mutex<Refusals>,
    waiting: Semaphore,
    pub(super) greetings: Arc<Semaphore>,
    pub(super) callers: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            refusals: Mutex::default(),
            waiting: Semaphore::new(WAITING_REFUSALS),
            greetings: Arc::new(Semaphore::new(GREETINGS)),
            callers: Arc::new(Semaphore::new(CALLERS)),
        }
    }
}

impl Doors {
    /// Answers any request.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        let mut response = if is_grpc(request.headers()) {
            self.grpc(request.map(Body::new), peer).await
        } else {
            self.http(request, peer).await
        };
        let (name, value) = answers::MODE;
        response.headers_mut().insert(name, value);
        response
    }

    async fn http(self: Arc<Self>, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let read = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/healthz" | "/agent/connect" | "/client/connect" if !read => answers::text(
                StatusCode::METHOD_NOT_ALLOWED,
                "this address answers GET only",
            ),
            "/healthz" => answers::healthy(),
            "/agent/connect" => self.agent_connect(request, peer).await,
            "/client/connect" => self.client_connect(request, peer).await,
            _ => answers::text(
                StatusCode::NOT_FOUND,
                "there is nothing here: this is a TurboPanel control plane, which answers gRPC, /agent/connect, /client/connect and /healthz",
            ),
        }
    }

    async fn grpc(&self, request: Request<Body>, peer: SocketAddr) -> Response<Body> {
        if request.version() != Version::HTTP_2 {
            return answers::text(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "gRPC needs HTTP/2: a proxy in between must forward it as such",
            );
        }
        match self
            .authenticate(request.headers(), TokenKind::Admin, peer)
            .await
        {
            Ok(token) => self.calls.answer(request, Some(token)).await,
            Err(Refused::Token(Refusal::Missing)) if needs_no_token(&request) => {
                self.calls.answer(request, None).await
            }
            Err(Refused::Token(refusal)) => Status::from(CallError::from(refusal)).into_http(),
            Err(Refused::TooMany) => Status::from(CallError::TooManyRefusals).into_http(),
        }
    }

    /// Lets a token in. A wrong one is slowed down by the address that it comes from.
    pub(super) async fn authenticate(
        &self,
        headers: &HeaderMap,
        wanted: TokenKind,
        peer: SocketAddr,
    ) -> Result<Arc<Token>, Refused> {
        let presented = bearer(headers);
        let now = SystemTime::now();
        let refusal = match self.registry.tokens.authenticate(presented, wanted, now) {
            Ok(token) => return Ok(token),
            Err(refusal) => refusal,
        };
        if refusal == Refusal::Missing {
            return Err(refusal.into());
        }
        let delay = {
            let refusals = self.limits.refusals.lock();
            let mut refusals = refusals.unwrap_or_else(PoisonError::into_inner);
            refusals.count(peer.ip(), Instant::now())
        };
        tracing::info!(%peer, %refusal, "a token was refused");
        if !delay.is_zero() {
            let _waiting = self
                .limits
                .waiting
                .try_acquire()
                .map_err(|_| Refused::TooMany)?;
            let wait = tokio::time::sleep(delay);
            self.stopping.run_until_cancelled(wait).await;
        }
        Err(refusal.into())
    }
}

/// Why somebody is not let in.
#[derive(Debug)]
pub(super) enum Refused {
    /// By the token.
    Token(Refusal),
    /// Too many refusals wait already.
    TooMany,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Token(refusal)
    }
}

impl Refused {
    /// As an answer in plain HTTP.
    pub(super) fn into_http(self) -> Response<Body> {
        match self {
            Self::Token(refusal) => answers::refused(refusal),
            Self::TooMany => answers::later(
                StatusCode::TOO_MANY_REQUESTS,
                10,
                "too many wrong tokens were presented lately: check the token",
            ),
        }
    }
}

/// The token of `authorization: Bearer TOKEN`. Two of them are as wrong as a wrong one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return Some("");
    }
    let text = value.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
        Some(_) | None => Some(""),
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind == "application/grpc"
        || kind.starts_with("application/grpc+")
        || kind.starts_with("application/grpc;")
}
