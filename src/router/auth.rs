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
    expected: Option<Arc<Expected>>,
}

struct Expected {
    key: hmac::Key,
    tag: hmac::Tag,
    /// Failures since the last success: each slows the next answer.
    failures: AtomicU32,
}

impl Auth {
    /// Asks for this token. Without one the port is bound to loopback, and everybody there may call.
    pub fn new(token: Option<&Secret>) -> Self {
        let expected = token.and_then(|token| {
            let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
            let tag = hmac::sign(&key, token.reveal().as_bytes());
            Some(Arc::new(Expected {
                key,
                tag,
                failures: AtomicU32::new(0),
            }))
        });
        // No random numbers, no key, no comparison: refuse rather than let everybody in.
        if token.is_some() && expected.is_none() {
            tracing::error!(
                "the operating system gives no random numbers; the local port answers nobody"
            );
        }
        Self { expected }
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
            expected: self.expected.clone(),
        }
    }
}

/// A service behind [`Auth`].
#[derive(Clone)]
pub struct Authenticated<S> {
    inner: S,
    expected: Option<Arc<Expected>>,
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
        let Some(expected) = &self.expected else {
            return Box::pin(self.inner.call(request));
        };
        if request.uri().path().starts_with(LIVENESS) {
            return Box::pin(self.inner.call(request));
        }
        if expected.matches(&request) {
            expected.failures.store(0, Ordering::Relaxed);
            return Box::pin(self.inner.call(request));
        }
        let delay = expected.delay();
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
