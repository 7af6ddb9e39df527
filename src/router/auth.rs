//! The local port's door: without the token nothing is answered but liveness (promise A1).

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use ring::{hmac, rand::SystemRandom};
use tokio::sync::Semaphore;
use tonic::{Code, Status, body::Body};
use tower_layer::Layer;
use tower_service::Service;

use super::{guests::Known, plain};
use crate::{config::Secret, proto::ErrorReason, services::error::status};

/// What is answered without a token.
const LIVENESS: &str = "/grpc.health.v1.Health/Check";
/// The answer to the first wrong token waits so long, and twice as long with each further one ...
const FIRST_DELAY: Duration = Duration::from_millis(50);
/// ... so many times. One is forgiven every two seconds; a right token forgives nothing.
const DOUBLINGS: f64 = 6.0;
const FORGIVEN_PER_SECOND: f64 = 0.5;
/// Refusals that wait at once, at most; what comes beyond is refused at once, and told to come later.
const WAITING: usize = 64;

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
    failures: Mutex<Failures>,
    waiting: Arc<Semaphore>,
}

/// Wrong tokens that were presented lately.
struct Failures {
    count: f64,
    at: Instant,
}

impl Failures {
    /// Counts one more, and says how long its answer should wait.
    fn count(&mut self, now: Instant) -> Duration {
        let forgiven = now.saturating_duration_since(self.at).as_secs_f64() * FORGIVEN_PER_SECOND;
        let before = (self.count - forgiven).max(0.0);
        (self.count, self.at) = (before + 1.0, now);
        FIRST_DELAY.mul_f64(before.min(DOUBLINGS).exp2())
    }
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
                failures: Mutex::new(Failures {
                    count: 0.0,
                    at: Instant::now(),
                }),
                waiting: Arc::new(Semaphore::new(WAITING)),
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
        let failures = self.failures.lock();
        let mut failures = failures.unwrap_or_else(PoisonError::into_inner);
        failures.count(Instant::now())
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

/// The connection of a caller who is let in may stay.
fn let_in(request: Request<Body>) -> Request<Body> {
    if let Some(guest) = request.extensions().get::<Known>() {
        guest.let_in();
    }
    request
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
        if request.uri().path() == LIVENESS {
            return Box::pin(self.inner.call(request));
        }
        let is_grpc = plain::is_grpc(&request);
        let (delay, waiting) = match &self.door {
            Door::Open => return Box::pin(self.inner.call(let_in(request))),
            Door::Guarded(expected) if expected.matches(&request) => {
                return Box::pin(self.inner.call(let_in(request)));
            }
            Door::Guarded(expected) => match Arc::clone(&expected.waiting).try_acquire_owned() {
                Ok(permit) => (expected.delay(), Some(permit)),
                Err(_) if is_grpc => {
                    return Box::pin(std::future::ready(Ok(too_many().into_http())));
                }
                Err(_) => {
                    let answer = plain::answer(StatusCode::TOO_MANY_REQUESTS, TOO_MANY);
                    return Box::pin(std::future::ready(Ok(answer)));
                }
            },
            Door::Shut => (Duration::from_secs(1), None),
        };
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            drop(waiting);
            if !is_grpc {
                let sentence = "send the agent's token as \"Authorization: Bearer TOKEN\"";
                return Ok(plain::answer(StatusCode::UNAUTHORIZED, sentence));
            }
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

const TOO_MANY: &str =
    "too many calls with wrong tokens wait for their answers; correct the token and try again";

fn too_many() -> Status {
    let limit = ("limit", WAITING.to_string());
    status(
        Code::ResourceExhausted,
        ErrorReason::LimitReached,
        TOO_MANY,
        &[(limit.0, limit.1.as_str())],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a2_wrong_tokens_are_slowed_more_and_more_and_forgiven_in_time() {
        let now = Instant::now();
        let mut failures = Failures {
            count: 0.0,
            at: now,
        };
        let waits: Vec<u128> = (0..8).map(|_| failures.count(now).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 3200]);
        let later = now + Duration::from_secs(60);
        assert_eq!(failures.count(later).as_millis(), 50);
    }
}
