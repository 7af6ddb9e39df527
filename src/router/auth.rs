//! The local port's door: without the token nothing is answered but liveness (promise A1).

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, header::AUTHORIZATION};
use ring::{hmac, rand::SystemRandom};
use tonic::{Code, body::Body};
use tower_layer::Layer;
use tower_service::Service;

use crate::{config::Secret, proto::ErrorReason, services::error::status};

/// What is answered without a token.
const LIVENESS: &str = "/grpc.health.v1.Health/";

/// Lets in whoever shows the token.
#[derive(Clone)]
pub struct Auth {
    door: Door,
}

#[derive(Clone)]
enum Door {
    /// No token is set: the port is bound to loopback, and everybody there may call.
    Open,
    Guarded(Arc<Expected>),
    /// A token is set but cannot be compared: nobody is let in.
    Shut,
}

struct Expected {
    key: hmac::Key,
    tag: hmac::Tag,
    /// Failures since the last success: each slows the next answer.
    failures: AtomicU32,
}

impl Auth {
    /// Asks for this token, if there is one.
    pub fn new(token: Option<&Secret>) -> Self {
        let Some(token) = token else {
            return Self { door: Door::Open };
        };
        let door = match hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()) {
            Ok(key) => Door::Guarded(Arc::new(Expected {
                tag: hmac::sign(&key, token.reveal().as_bytes()),
                key,
                failures: AtomicU32::new(0),
            })),
            Err(_) => {
                tracing::error!(
                    "the operating system gives no random numbers; the local port answers nobody"
                );
                Door::Shut
            }
        };
        Self { door }
    }
}

impl Expected {
    /// Compares digests under a key of this process, so that time tells nothing.
    fn matches(&self, request: &Request<Body>) -> bool {
        request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked(7))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .is_some_and(|(_, token)| hmac::verify(&self.key, token, self.tag.as_ref()).is_ok())
    }

    fn delay(&self) -> Duration {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        Duration::from_millis(50 << failures.min(6))
    }
}

impl<S> Layer<S> for Auth {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Authenticated<S> {
        Authenticated {
            inner,
            door: self.door.clone(),
        }
    }
}

/// A service behind [`Auth`].
#[derive(Clone)]
pub struct Authenticated<S> {
    inner: S,
    door: Door,
}

impl<S> Service<Request<Body>> for Authenticated<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path().starts_with(LIVENESS) {
            return Box::pin(self.inner.call(request));
        }
        let delay = match &self.door {
            Door::Open => return Box::pin(self.inner.call(request)),
            Door::Guarded(expected) if expected.matches(&request) => {
                expected.failures.store(0, Ordering::Relaxed);
                return Box::pin(self.inner.call(request));
            }
            Door::Guarded(expected) => expected.delay(),
            Door::Shut => Duration::from_secs(1),
        };
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            let message = "send the agent's token as metadata \"authorization: Bearer TOKEN\"";
            let status = status(
                Code::Unauthenticated,
                ErrorReason::TokenRequired,
                message,
                &[],
            );
            Ok(status.into_http())
        })
    }
}
