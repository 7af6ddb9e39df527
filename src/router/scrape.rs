//! `GET /metrics` on the agent's own port: for Prometheus over HTTP/1.1, and over HTTP/2 beside gRPC.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower_service::Service;

use super::{
    guests::{Guest, Known},
    plain,
};
use crate::{agent::Agent, services::metrics::prometheus};

/// Where it is.
pub(super) const PATH: &str = "/metrics";
/// The head of a request: bytes, lines, and how long it may take to come.
const HEAD: usize = 16 * 1024;
const LINES: usize = 64;
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Answers `/metrics`, and says to everything else what this port speaks.
#[derive(Clone, Debug)]
pub(super) struct Scrape {
    agent: Agent,
}

impl Scrape {
    pub(super) fn new(agent: Agent) -> Self {
        Self { agent }
    }
}

impl<B: Send + 'static> Service<Request<B>> for Scrape {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let agent = self.agent.clone();
        Box::pin(async move {
            if request.uri().path() != PATH {
                let sentence = "this port speaks gRPC over HTTP/2, and has /metrics for Prometheus";
                return Ok(plain::answer(StatusCode::NOT_FOUND, sentence));
            }
            if ![Method::GET, Method::HEAD].contains(request.method()) {
                let mut answer = plain::answer(StatusCode::METHOD_NOT_ALLOWED, "ask with GET");
                let allowed = HeaderValue::from_static("GET, HEAD");
                answer.headers_mut().insert(header::ALLOW, allowed);
                return Ok(answer);
            }
            let stop = agent.stop().clone();
            let Some(text) = stop.run_until_cancelled(prometheus::text(&agent)).await else {
                let sentence = "the agent is stopping";
                return Ok(plain::answer(StatusCode::SERVICE_UNAVAILABLE, sentence));
            };
            // hyper leaves the body out where HEAD asked.
            let mut answer = Response::new(Body::new(Full::new(Bytes::from(text))));
            let kind = HeaderValue::from_static(prometheus::CONTENT_TYPE);
            answer.headers_mut().insert(header::CONTENT_TYPE, kind);
            Ok(answer)
        })
    }
}

/// Serves one connection that speaks HTTP/1.1, until its peer goes or the agent stops.
pub(super) async fn serve_http1<S>(guest: Guest, service: S, stop: CancellationToken)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let known: Known = guest.known();
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut service = service.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(known.clone());
        async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(request).await
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD)
        .max_headers(LINES)
        .serve_connection(TokioIo::new(guest), service);
    let mut connection = std::pin::pin!(connection);
    let ended = stop.run_until_cancelled(connection.as_mut()).await;
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection over HTTP/1.1 ended early");
    }
}
