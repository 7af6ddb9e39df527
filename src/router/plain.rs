//! Answers to whoever does not speak gRPC: a status of HTTP, and one sentence.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use tonic::body::Body;

/// Whether a request is gRPC's. To others a status in trailers says nothing: they would take 200 for success.
pub(super) fn is_grpc(request: &Request<Body>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// A sentence with a status.
pub(super) fn answer(status: StatusCode, sentence: &'static str) -> Response<Body> {
    let body = format!("{sentence}\n");
    let mut answer = Response::new(Body::new(Full::new(Bytes::from(body))));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        headers.insert(header::WWW_AUTHENTICATE, scheme);
    }
    answer
}
