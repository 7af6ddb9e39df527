//! Counts calls and the bytes of their bodies, whichever way they came in: see [`crate::tally`].

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use axum_core::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tonic::service::Routes;
use tower_service::Service;

use crate::{
    agent::Agent,
    tally::{Running, Tally},
};

/// Counts the calls of these routes.
pub(super) fn counted(mut routes: Routes, agent: &Agent) -> Routes {
    let tally = agent.tally().clone();
    let layer = tower_layer::layer_fn(move |inner| Counting {
        inner,
        tally: tally.clone(),
    });
    let router = routes.axum_router_mut();
    *router = mem::take(router).layer(layer);
    routes
}

#[derive(Clone)]
struct Counting<S> {
    inner: S,
    tally: Tally,
}

impl<S> Service<Request<Body>> for Counting<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let tally = self.tally.clone();
        let mut running = tally.begin();
        let request = request.map(|body| {
            Body::new(Counted {
                body,
                count: move |bytes| tally.received(bytes),
            })
        });
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            running.answers();
            Ok(answer.map(|body| {
                Body::new(Counted {
                    body,
                    // The call is over when its body is.
                    count: move |bytes| sent(&running, bytes),
                })
            }))
        })
    }
}

fn sent(running: &Running, bytes: usize) {
    running.tally().sent(bytes);
}

/// A body whose bytes are counted.
struct Counted<F> {
    body: Body,
    count: F,
}

impl<F: Fn(usize) + Unpin> http_body::Body for Counted<F> {
    type Data = Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum_core::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            (self.count)(data.len());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
