//! What ends a call besides its two ends: a lost agent, a revoked token, a removed agent, the deadline.

use std::sync::atomic::Ordering;

use http::uri::PathAndQuery;
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status, Streaming, client::Grpc};
use tonic_prost::ProstCodec;

use crate::{
    echo::{Echo, FLOOD},
    plane::{TestAgent, TestPlane, eventually, reason, within},
};

/// Calls with an empty message; the status at the end of the answer, however many messages come before it.
async fn status_of<S>(service: S, path: PathAndQuery) -> Status
where
    S: tonic::client::GrpcService<tonic::body::Body> + Send,
    S::Error: Into<tonic::codegen::StdError>,
    S::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    let mut grpc = Grpc::new(service);
    grpc.ready().await.map_err(Into::into).unwrap();
    let codec: ProstCodec<String, String> = ProstCodec::default();
    let request = Request::new(String::new());
    let mut answer: Streaming<String> = match grpc.server_streaming(request, path, codec).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return status,
    };
    loop {
        match answer.next().await {
            Some(Ok(_)) => {}
            Some(Err(status)) => return status,
            None => return Status::ok("the stream ended by itself"),
        }
    }
}

async fn begun(echo: &Echo, calls: usize) {
    eventually("the calls have begun", async || {
        echo.begun.load(Ordering::SeqCst) == calls
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_agent_is_replaced_says_call_lost() {
    let plane = TestPlane::start().await;
    let echo = Echo::default();
    let (_first, token) = plane.join("web-2", &echo).await;
    let client = plane.client(Some(&plane.admin), Some("web-2"));
    let flood = tokio::spawn(status_of(client, FLOOD));
    begun(&echo, 1).await;
    let _second = TestAgent::dial(plane.address, &token.secret, &echo)
        .await
        .unwrap();
    let status = within(10, flood).await.unwrap();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(reason(&status), "CALL_LOST");
}
