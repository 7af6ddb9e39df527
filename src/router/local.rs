//! The agent's own port, for grpcurl and for programs on the same machine.

use std::{
    convert::Infallible,
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream::FuturesUnordered};
use http::{Request, Response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, service::Routes, transport::Server};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Auth, Deadline,
    deadline::DeadlineLayer,
    guests::{self, Guest},
    panics::Panics,
    scrape::{self, Scrape},
};
use crate::agent::Agent;

/// How long answers over HTTP/1 may take that were asked for before a stop.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Opens the port: to everybody when a token guards it, else to this machine only.
pub fn bind(port: u16, guarded: bool) -> io::Result<TcpListener> {
    let open = |ip| {
        let listener = TcpListener::bind(SocketAddr::new(ip, port))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    if !guarded {
        return open(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    match open(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) {
        // A machine without IPv6.
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            open(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
        }
        opened => opened,
    }
}

/// Serves the port until the agent stops; then calls that run are let end.
pub fn serve(
    listener: TcpListener,
    agent: &Agent,
    routes: Deadline<Routes>,
    auth: Auth,
) -> impl Future<Output = io::Result<()>> + Send + use<> {
    let stop = agent.draining().clone();
    let scrape = Scrape::new(agent.clone());
    let mut routes = routes.into_inner();
    let router = routes.axum_router_mut();
    *router = mem::take(router).route_service(scrape::PATH, scrape.clone());
    let over_http1 = auth.layer(Panics.layer(scrape));
    async move {
        let guests = guests::accept(tokio::net::TcpListener::from_std(listener)?);
        let (send, receive) = mpsc::channel(1);
        // What speaks HTTP/1 is served here, and its connections end with this.
        let sorting = sort(guests, over_http1, send, stop.clone());
        let serving = Server::builder()
            .layer(auth)
            .layer(Panics)
            .layer(DeadlineLayer)
            .max_concurrent_streams(256)
            .concurrency_limit_per_connection(256)
            .http2_max_header_list_size(16 * 1024)
            .http2_max_local_error_reset_streams(Some(256))
            .http2_max_pending_accept_reset_streams(Some(64))
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .add_routes(routes)
            .serve_with_incoming_shutdown(ReceiverStream::new(receive), stop.cancelled_owned());
        let (served, ()) = tokio::join!(serving, sorting);
        served.map_err(io::Error::other)
    }
}

/// Accepts connections: those that speak HTTP/2 go to `http2`, the others are served by `over_http1`.
async fn sort<S>(
    guests: impl Stream<Item = io::Result<Guest>>,
    over_http1: S,
    http2: mpsc::Sender<io::Result<Guest>>,
    stop: CancellationToken,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let mut guests = Box::pin(guests);
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(()) = connections.next() => {}
            guest = guests.next() => match guest {
                Some(Ok(guest)) => connections.push(async {
                    if guest.asks_over_http1().await {
                        scrape::serve_http1(guest, over_http1.clone(), stop.clone()).await;
                    } else {
                        // Nobody takes it when the agent stops.
                        let _ = http2.send(Ok(guest)).await;
                    }
                }),
                Some(Err(error)) => {
                    let _ = http2.send(Err(error)).await;
                }
                None => break,
            }
        }
    }
    // No further ones; what was asked is answered.
    drop(guests);
    let _ = tokio::time::timeout(LAST_ANSWERS, async {
        while connections.next().await.is_some() {}
    })
    .await;
}

/// Asks whoever listens on this port of this machine whether it serves (`grpc.health.v1`). One request by
/// hand over HTTP/2: a client library would make the agent larger for nothing else.
pub async fn is_serving(port: u16) -> Result<(), String> {
    let ask = async {
        let tcp = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(|error| error.to_string())?;
        let io = hyper_util::rt::TokioIo::new(tcp);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
            .await
            .map_err(|error| error.to_string())?;
        // An empty HealthCheckRequest: no compression, no bytes.
        let body = http_body_util::Full::new(bytes::Bytes::from_static(&[0; 5]));
        let request = Request::post(format!(
            "http://127.0.0.1:{port}/grpc.health.v1.Health/Check"
        ))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .map_err(|error| error.to_string())?;
        let answering = async {
            let response = sender.send_request(request).await?;
            http_body_util::BodyExt::collect(response.into_body()).await
        };
        let answer = tokio::select! {
            answer = answering => answer.map_err(|error| error.to_string())?,
            ended = connection => return Err(format!("the connection ended: {ended:?}")),
        };
        // HealthCheckResponse { status: SERVING } behind the five bytes of gRPC's framing.
        if answer.to_bytes().ends_with(&[0x08, 0x01]) {
            Ok(())
        } else {
            Err("the agent says that it does not serve".to_owned())
        }
    };
    tokio::time::timeout(Duration::from_secs(3), ask)
        .await
        .unwrap_or_else(|_| Err("no answer within 3 s".to_owned()))
}
