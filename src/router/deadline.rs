//! The caller's deadline (`grpc-timeout`), kept for the whole call whichever way it came in.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
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
            answer.map(|response| {
                response.map(|body| {
                    Body::new(Timed {
                        body,
                        until: Box::pin(sleep_until(until)),
                    })
                })
            })
        })
    }
}

fn time_over() -> Status {
    let message = "the time that the caller allowed is over";
    status(Code::DeadlineExceeded, ErrorReason::TimeOver, message, &[])
}

struct Timed {
    body: Body,
    until: Pin<Box<Sleep>>,
}

impl http_body::Body for Timed {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => {}
            ready => return ready,
        }
        std::task::ready!(self.until.as_mut().poll(cx));
        // What the handler holds goes now, not when the caller has read the error.
        self.body = Body::empty();
        let mut trailers = http::HeaderMap::new();
        match time_over().add_header(&mut trailers) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Err(status) => Poll::Ready(Some(Err(status))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
