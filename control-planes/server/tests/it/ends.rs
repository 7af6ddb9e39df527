//! What ends a call besides its two ends: a lost agent, a revoked token, a removed agent, the deadline.

use std::sync::atomic::Ordering;

use http::uri::PathAndQuery;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status, Streaming, client::Grpc};
use tonic_prost::ProstCodec;
use turbopanel_control_plane::proto::control::{RemoveAgentRequest, RevokeTokenRequest, TokenKind};

use crate::{
    echo::{Echo, FLOOD, HANG},
    frames::caller,
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

async fn dropped(echo: &Echo, calls: usize) {
    eventually("the handlers are dropped", async || {
        echo.dropped.load(Ordering::SeqCst) == calls
    })
    .await;
}

async fn revoke(plane: &TestPlane, id: String) {
    let request = RevokeTokenRequest { id };
    plane.tokens().revoke_token(request).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn revoking_an_agents_token_ends_the_calls_through_it() {
    let plane = TestPlane::start().await;
    let echo = Echo::default();
    let (agent, token) = plane.join("web-2", &echo).await;
    let grpc = || plane.client(Some(&plane.admin), Some("web-2"));
    let frames = || caller(&plane, &plane.admin, "/client/connect?agent=web-2");
    let calls = [
        tokio::spawn(status_of(grpc(), HANG)),
        tokio::spawn(status_of(grpc(), FLOOD)),
        tokio::spawn(status_of(frames(), HANG)),
        tokio::spawn(status_of(frames(), FLOOD)),
    ];
    begun(&echo, 4).await;
    revoke(&plane, token.token.unwrap().id).await;
    for call in calls {
        let status = within(5, call).await.unwrap();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        assert_eq!(reason(&status), "AGENT_SHUT_OUT");
        assert!(status.message().contains("token create web-2"), "{status}");
    }
    dropped(&echo, 4).await;
    agent.ended(5).await;
    // The same for new calls, until there is a new token.
    for status in [
        within(5, status_of(grpc(), HANG)).await,
        within(5, status_of(frames(), HANG)).await,
    ] {
        assert_eq!(reason(&status), "AGENT_SHUT_OUT", "{status}");
    }
    let token = plane.create(TokenKind::Agent, "web-2").await;
    let status = within(5, status_of(grpc(), HANG)).await;
    assert_eq!(reason(&status), "AGENT_OFFLINE", "{status}");
    let _agent = TestAgent::dial(plane.address, &token.secret, &echo)
        .await
        .unwrap();
    eventually("the agent is back", async || {
        plane.agent("web-2").await.connected
    })
    .await;
    let _call = tokio::spawn(status_of(frames(), HANG));
    begun(&echo, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_for_an_agent_end_with_its_token() {
    let plane = TestPlane::start().await;
    let echo = Echo::default();
    let (agent, token) = plane.join("web-2", &echo).await;
    let calls = [
        tokio::spawn(status_of(
            plane.client(Some(&plane.admin), Some("web-2")),
            HANG,
        )),
        tokio::spawn(status_of(
            caller(&plane, &plane.admin, "/client/connect?agent=web-2"),
            HANG,
        )),
    ];
    begun(&echo, 2).await;
    agent.stop();
    eventually("the agent is away", async || {
        !plane.agent("web-2").await.connected
    })
    .await;
    revoke(&plane, token.token.unwrap().id).await;
    for call in calls {
        let status = within(5, call).await.unwrap();
        assert_eq!(reason(&status), "AGENT_SHUT_OUT", "{status}");
    }
    // It is remembered over a restart.
    let dir = plane.stop().await.unwrap();
    let plane = TestPlane::start_in(dir.path()).await;
    let client = plane.client(Some(&plane.admin), Some("web-2"));
    let status = within(5, status_of(client, HANG)).await;
    assert_eq!(reason(&status), "AGENT_SHUT_OUT", "{status}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_an_agent_ends_the_calls_through_it() {
    let plane = TestPlane::start().await;
    let echo = Echo::default();
    let (_agent, _) = plane.join("web-2", &echo).await;
    let calls = [
        tokio::spawn(status_of(
            plane.client(Some(&plane.admin), Some("web-2")),
            FLOOD,
        )),
        tokio::spawn(status_of(
            caller(&plane, &plane.admin, "/client/connect?agent=web-2"),
            HANG,
        )),
    ];
    let unread = Unread::open(&plane, &plane.admin, FLOOD.path()).await;
    begun(&echo, 3).await;
    let name = "web-2".to_owned();
    let mut fleet = plane.fleet();
    fleet
        .remove_agent(RemoveAgentRequest { name })
        .await
        .unwrap();
    for call in calls {
        let status = within(5, call).await.unwrap();
        assert_eq!(status.code(), Code::NotFound, "{status}");
    }
    dropped(&echo, 3).await;
    drop(unread);
}

/// A call over HTTP/2 whose answer nobody reads: its window is full soon.
struct Unread {
    _answer: http::Response<hyper::body::Incoming>,
    _sender: hyper::client::conn::http2::SendRequest<Full<bytes::Bytes>>,
    driving: tokio::task::JoinHandle<hyper::Result<()>>,
}

impl Unread {
    async fn open(plane: &TestPlane, token: &str, path: &str) -> Self {
        Self::open_with(plane, token, path, &[]).await
    }

    async fn open_with(
        plane: &TestPlane,
        token: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let stream = TcpStream::connect(plane.address).await.unwrap();
        let mut http = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let http = http.initial_stream_window_size(1000);
        let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.unwrap();
        let driving = tokio::spawn(connection);
        let mut request = http::Request::post(format!("http://{}{path}", plane.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("turbopanel-agent", "web-2")
            .header("authorization", format!("Bearer {token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let message = Full::new(bytes::Bytes::from_static(&[0; 5]));
        let answer = sender.send_request(request.body(message).unwrap());
        let answer = within(10, answer).await.unwrap();
        Self {
            _answer: answer,
            _sender: sender,
            driving,
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_read_is_ended_all_the_same() {
    let plane = TestPlane::start().await;
    let echo = Echo::default();
    let (_agent, _) = plane.join("web-2", &echo).await;
    let laptop = plane.create(TokenKind::Admin, "laptop").await;
    let _unread = Unread::open(&plane, &laptop.secret, FLOOD.path()).await;
    begun(&echo, 1).await;
    revoke(&plane, laptop.token.unwrap().id).await;
    dropped(&echo, 1).await;
    // The deadline holds as well.
    let late = [("grpc-timeout", "300m")];
    let _unread = Unread::open_with(&plane, &plane.admin, FLOOD.path(), &late).await;
    begun(&echo, 2).await;
    dropped(&echo, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_never_pauses_ends_at_its_deadline() {
    let plane = TestPlane::start().await;
    let echo = Echo::default();
    let (_agent, _) = plane.join("web-2", &echo).await;
    let headers = [("grpc-timeout", "300m"), ("turbopanel-agent", "web-2")];
    let status = within(20, plane.post(FLOOD.path(), &headers)).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(reason(&status), "DEADLINE_PASSED");
    dropped(&echo, 1).await;
}
