//! The caller's deadline (`grpc-timeout`), kept for the whole call whichever way it came in.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use http::{Request, Response};
use http_body::Frame;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status, body::Body};
use tower_service::Service;
use turbopanel_tunnel::grpc_timeout;

use crate::{proto::ErrorReason, services::error::status};

/// Ends each call of the inner service when its time is over; the handler is dropped.
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
}

impl<S> Deadline<S> {
    /// Watches the calls of this service.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }

    /// The service without its watch.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

/// Makes [`Deadline`] for a server that takes layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeadlineLayer;

impl<S> tower_layer::Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline::new(inner)
    }
}

impl<S> Service<Request<Body>> for Deadline<S>
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
        let until = grpc_timeout(request.headers()).map(|timeout| Instant::now() + timeout);
        let answer = self.inner.call(request);
        let Some(until) = until else {
            return Box::pin(answer);
        };
        Box::pin(async move {
            let Ok(answer) = timeout_at(until, answer).await else {
                return Ok(time_over().into_http());
            };
            answer.map(|response| response.map(|body| Body::new(Timed::new(body, until))))
        })
    }
}

fn time_over() -> Status {
    let message = "the time that the caller allowed is over";
    status(Code::DeadlineExceeded, ErrorReason::TimeOver, message, &[])
}

/// A body that ends when its time is over, whether anybody reads it or not: a caller that stopped reading
/// must not keep what its handler holds.
struct Timed {
    until: Instant,
    held: Arc<Mutex<Held>>,
    _timer: AbortOnDropHandle<()>,
}

struct Held {
    /// None when the time is over.
    body: Option<Body>,
    reader: Option<Waker>,
    told: bool,
}

impl Timed {
    fn new(body: Body, until: Instant) -> Self {
        let held = Arc::new(Mutex::new(Held {
            body: Some(body),
            reader: None,
            told: false,
        }));
        let ending = Arc::clone(&held);
        #[expect(
            clippy::disallowed_methods,
            reason = "lives no longer than the body, and never past the deadline"
        )]
        let timer = tokio::spawn(async move {
            sleep_until(until).await;
            let (body, reader) = {
                let mut held = lock(&ending);
                (held.body.take(), held.reader.take())
            };
            drop(body);
            if let Some(reader) = reader {
                reader.wake();
            }
        });
        Self {
            until,
            held,
            _timer: AbortOnDropHandle::new(timer),
        }
    }
}

impl http_body::Body for Timed {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
        let mut held = lock(&self.held);
        // A body that always has more leaves the timer no turn.
        if Instant::now() >= self.until {
            held.body = None;
        }
        if let Some(body) = &mut held.body {
            let polled = Pin::new(body).poll_frame(cx);
            match &polled {
                Poll::Pending => held.reader = Some(cx.waker().clone()),
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {}
                // Its own end: the time that goes on changes nothing about it.
                Poll::Ready(_) => {
                    held.told = true;
                    held.body = None;
                }
            }
            return polled;
        }
        if std::mem::replace(&mut held.told, true) {
            return Poll::Ready(None);
        }
        let mut trailers = http::HeaderMap::new();
        match time_over().add_header(&mut trailers) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Err(status) => Poll::Ready(Some(Err(status))),
        }
    }

    fn is_end_stream(&self) -> bool {
        let held = lock(&self.held);
        held.body.as_ref().map_or(held.told, Body::is_end_stream)
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::time::Duration;
    use tower::ServiceExt;

    /// A body that always has more.
    struct Endless;

    impl http_body::Body for Endless {
        type Data = bytes::Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
            Poll::Ready(Some(Ok(Frame::data(bytes::Bytes::from_static(b"x")))))
        }
    }

    #[tokio::test]
    async fn a_body_that_always_has_more_ends_too() {
        let endless = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::new(Endless)))
        });
        let mut request = Request::new(Body::empty());
        request
            .headers_mut()
            .insert("grpc-timeout", http::HeaderValue::from_static("100m"));
        let Ok(response) = Deadline::new(endless).oneshot(request).await;
        let mut body = response.into_body();
        let began = std::time::Instant::now();
        let trailers = loop {
            assert!(began.elapsed() < Duration::from_secs(20), "it goes on");
            match body.frame().await {
                Some(Ok(frame)) if frame.is_data() => {}
                Some(Ok(frame)) => break frame.into_trailers().ok(),
                _ => break None,
            }
        };
        let status = trailers.and_then(|trailers| Status::from_header_map(&trailers));
        assert_eq!(
            status.map(|status| status.code()),
            Some(Code::DeadlineExceeded)
        );
        assert!(body.frame().await.is_none());
    }
}
