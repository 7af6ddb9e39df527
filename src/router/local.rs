//! The agent's own port, for grpcurl and for programs on the same machine.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};

use super::{Auth, Deadline, deadline::DeadlineLayer, guests, panics::Panics};

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

/// Serves the port until it is told to stop; then calls that run are let end.
pub async fn serve(
    listener: TcpListener,
    routes: Deadline<Routes>,
    auth: Auth,
    stop: CancellationToken,
) -> io::Result<()> {
    let incoming = guests::accept(tokio::net::TcpListener::from_std(listener)?);
    Server::builder()
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
        .add_routes(routes.into_inner())
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await
        .map_err(io::Error::other)
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
        let request = http::Request::post(format!(
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
