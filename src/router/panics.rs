//! C9: a panic in one call ends that call with INTERNAL, and nothing else.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Frame;
use tonic::{Code, Status, body::Body};
use tower_layer::Layer;
use tower_service::Service;

use crate::{proto::ErrorReason, services::error::status};

/// Makes [`Caught`] services.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panics;

/// A service whose calls may panic.
#[derive(Clone, Debug)]
pub(super) struct Caught<S> {
    inner: S,
}

impl<S> Layer<S> for Panics {
    type Service = Caught<S>;

    fn layer(&self, inner: S) -> Caught<S> {
        Caught { inner }
    }
}

impl<S> Service<Request<Body>> for Caught<S>
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
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            match answer.await {
                Ok(answer) => answer.map(|response| {
                    response.map(|body| Body::new(CaughtBody { body: Some(body) }))
                }),
                Err(_) => Ok(fault().into_http()),
            }
        })
    }
}

fn fault() -> Status {
    tracing::error!("a handler panicked; its call ends, everything else goes on");
    let message = "the call's handler failed; the agent's log has the details";
    status(Code::Internal, ErrorReason::AgentFault, message, &[])
}

/// A body that may panic; none after it did.
struct CaughtBody {
    body: Option<Body>,
}

impl http_body::Body for CaughtBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx)));
        if let Ok(polled) = polled {
            return polled;
        }
        self.body = None;
        let mut trailers = http::HeaderMap::new();
        let status = fault();
        match status.add_header(&mut trailers) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Err(status) => Poll::Ready(Some(Err(status))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use tower::{ServiceExt, service_fn};

    use super::*;

    async fn grpc_status(
        service: impl Service<Request<Body>, Response = Response<Body>>,
    ) -> String {
        let request = Request::new(Body::empty());
        let Ok(response) = service.oneshot(request).await else {
            panic!("no answer");
        };
        let head = response.headers().get("grpc-status").cloned();
        let body = response.into_body().collect().await.unwrap();
        let last = head.or_else(|| body.trailers()?.get("grpc-status").cloned());
        last.unwrap().to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn c9_a_panic_is_internal_before_and_within_the_answer() {
        let at_once = service_fn(|request: Request<Body>| async move {
            assert!(request.uri().path().is_empty(), "asked to panic");
            Ok(Response::new(Body::empty()))
        });
        assert_eq!(grpc_status(Panics.layer(at_once)).await, "13");
        let later = service_fn(|_| async {
            let frames = futures_util::stream::iter(0..3).map(|frame| {
                assert!(frame < 2, "asked to panic");
                Ok::<_, Status>(Frame::data(Bytes::from_static(b"x")))
            });
            Ok(Response::new(Body::new(StreamBody::new(frames))))
        });
        assert_eq!(grpc_status(Panics.layer(later)).await, "13");
    }

    use futures_util::StreamExt;
}
