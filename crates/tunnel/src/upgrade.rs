//! The accepting end's HTTP upgrade (RFC 6455, section 4.2), for any server built on hyper.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tonic::body::Body;

use crate::{SUBPROTOCOL, Socket};

/// A request that is not an upgrade to this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUpgrade {
    /// It asks for no WebSocket.
    #[error("this address answers WebSocket upgrades (RFC 6455) only")]
    NotAWebSocket,
    /// It does not offer the subprotocol.
    #[error(
        "the WebSocket must offer the subprotocol turbopanel.tunnel.v1; update the agent or the control plane"
    )]
    Subprotocol,
}

impl BadUpgrade {
    /// The HTTP status of the refusal: 426 Upgrade Required.
    pub fn status(self) -> StatusCode {
        StatusCode::UPGRADE_REQUIRED
    }
}

/// Becomes the WebSocket when the 101 answer has been sent.
#[derive(Debug)]
pub struct Upgrading(hyper::upgrade::OnUpgrade);

impl Future for Upgrading {
    type Output = Result<Opened, hyper::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map_ok(|upgraded| Opened(TokioIo::new(upgraded)))
    }
}

/// A connection after its upgrade.
#[derive(Debug)]
pub struct Opened(TokioIo<hyper::upgrade::Upgraded>);

impl Opened {
    /// The WebSocket on it.
    pub async fn socket(self) -> Socket {
        Socket::new(self.0, false).await
    }
}

/// Checks a request and answers with the 101 response and the WebSocket to be.
pub fn upgrade<B>(request: &mut Request<B>) -> Result<(Response<Body>, Upgrading), BadUpgrade> {
    let headers = request.headers();
    let has = |name: header::HeaderName, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let is_websocket = request.method() == Method::GET
        && has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    let key = key
        .filter(|_| is_websocket)
        .ok_or(BadUpgrade::NotAWebSocket)?;
    if !has(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err(BadUpgrade::Subprotocol);
    }
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| BadUpgrade::NotAWebSocket)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    answer.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    Ok((response, Upgrading(hyper::upgrade::on(request))))
}
