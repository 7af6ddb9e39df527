//! Answers calls of methods that the agent does not have. tonic says UNIMPLEMENTED and not a word more.

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{Code, Status, service::Routes};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    VERSION,
    excerpt::{VALUE, excerpt},
    proto::ErrorReason,
    services::error::status,
};

/// Lets these routes say which method they do not have, and what to do.
pub(super) fn told(mut routes: Routes) -> Routes {
    let router = routes.axum_router_mut();
    *router = mem::take(router).layer(Told);
    routes
}

#[derive(Clone)]
struct Told;

impl<S> Layer<S> for Told {
    type Service = Telling<S>;

    fn layer(&self, inner: S) -> Telling<S> {
        Telling(inner)
    }
}

#[derive(Clone)]
struct Telling<S>(S);

impl<S, B, R> Service<Request<B>> for Telling<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // A copy that shares its text.
        let uri = request.uri().clone();
        let answer = self.0.call(request);
        Box::pin(async move {
            let response = answer.await?;
            if is_bare(&response) {
                Ok(unimplemented(uri.path()).into_http())
            } else {
                Ok(response)
            }
        })
    }
}

/// UNIMPLEMENTED without a message: no handler of ours says that.
fn is_bare<R>(response: &Response<R>) -> bool {
    let headers = response.headers();
    headers
        .get(Status::GRPC_STATUS)
        .is_some_and(|code| code == "12")
        && headers
            .get(Status::GRPC_MESSAGE)
            .is_none_or(|message| message.is_empty())
}

fn unimplemented(path: &str) -> Status {
    status(
        Code::Unimplemented,
        ErrorReason::MethodNotFound,
        format!(
            "the agent (version {VERSION}) has no method {}: list what it has by reflection (grpcurl … list), or update it",
            excerpt(path, VALUE)
        ),
        &[("path", path)],
    )
}
