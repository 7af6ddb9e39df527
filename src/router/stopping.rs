//! What a stop means for calls: while the agent drains no further ones begin, and when it stops, those that
//! have no answer yet get one. Streams that have begun end themselves, see the services.

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower_service::Service;

use crate::{agent::Agent, services::error::stopping};

/// Answered to the last: whoever asks learns that the agent does not serve.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// Ends calls of these routes with the agent.
pub(super) fn ended(mut routes: Routes, agent: &Agent) -> Routes {
    let (draining, stop) = (agent.draining().clone(), agent.stop().clone());
    let layer = tower_layer::layer_fn(move |inner| Ending {
        inner,
        draining: draining.clone(),
        stop: stop.clone(),
    });
    let router = routes.axum_router_mut();
    *router = mem::take(router).layer(layer);
    routes
}

#[derive(Clone)]
struct Ending<S> {
    inner: S,
    draining: CancellationToken,
    stop: CancellationToken,
}

impl<S, B, R> Service<Request<B>> for Ending<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.uri().path().starts_with(HEALTH) {
            return Box::pin(self.inner.call(request));
        }
        if self.draining.is_cancelled() {
            return Box::pin(async { Ok(stopping().into_http()) });
        }
        let answer = self.inner.call(request);
        let stop = self.stop.clone();
        Box::pin(async move {
            let answered = stop.run_until_cancelled_owned(answer).await;
            answered.unwrap_or_else(|| Ok(stopping().into_http()))
        })
    }
}
