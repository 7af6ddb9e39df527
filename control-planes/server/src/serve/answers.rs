//! Answers in plain HTTP: health, and refusals that say in one sentence what to do.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use tonic::{Status, body::Body};

use crate::{registry::Refusal, services::error::CallError};

/// Names how this control plane talks to agents, on every answer.
pub(super) const MODE: (HeaderName, HeaderValue) = (
    HeaderName::from_static("turbopanel-mode"),
    HeaderValue::from_static("websocket"),
);

/// A sentence.
pub(super) fn text(status: StatusCode, sentence: &str) -> Response<Body> {
    build(status, "text/plain; charset=utf-8", format!("{sentence}\n"))
}

/// A refusal to be tried again after so many seconds.
pub(super) fn later(status: StatusCode, seconds: u16, sentence: &str) -> Response<Body> {
    let mut response = text(status, sentence);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The control plane lives.
pub(super) fn healthy() -> Response<Body> {
    let body = r#"{"status":"ok","mode":"websocket"}"#;
    build(StatusCode::OK, "application/json", format!("{body}\n"))
}

/// A refusal that also says how the calls end that were to come, with the headers of a gRPC answer.
pub(super) fn error(status: StatusCode, error: CallError) -> Response<Body> {
    let mut response = text(status, &error.to_string());
    // A status that is no header leaves the sentence.
    let _ = Status::from(error).add_header(response.headers_mut());
    response
}

/// A token that is not let in.
pub(super) fn refused(refusal: Refusal) -> Response<Body> {
    let status = match refusal {
        Refusal::Missing | Refusal::Unknown => StatusCode::UNAUTHORIZED,
        Refusal::Revoked(_) | Refusal::NotCallers(_) | Refusal::NotAgents(_) => {
            StatusCode::FORBIDDEN
        }
    };
    let mut response = error(status, refusal.into());
    if status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn build(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
