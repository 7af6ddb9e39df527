//! Calls forwarded to an agent: all four kinds, metadata, trailers, deadlines, cancellation.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use http::uri::PathAndQuery;
use tokio_stream::StreamExt;
use tonic::{Code, Request, Response, Status, Streaming, client::Grpc, metadata::MetadataValue};
use tonic_prost::ProstCodec;

use crate::{
    echo::{CHAT, COLLECT, COUNT, Echo, FAIL, FLOOD, HANG, UNARY},
    plane::{Client, TestPlane, eventually, reason, within},
};

fn codec() -> ProstCodec<String, String> {
    ProstCodec::default()
}

async fn unary(
    client: Client,
    path: PathAndQuery,
    request: Request<String>,
) -> Result<Response<String>, Status> {
    let mut grpc = Grpc::new(client);
    grpc.ready().await.unwrap();
    within(20, grpc.unary(request, path, codec())).await
}

async fn stream(client: Client, path: PathAndQuery, message: &str) -> Streaming<String> {
    let mut grpc = Grpc::new(client);
    grpc.ready().await.unwrap();
    let request = Request::new(message.to_owned());
    let response = grpc.server_streaming(request, path, codec()).await;
    response.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_kinds_of_calls_pass() {
    let plane = TestPlane::start().await;
    let (_agent, _) = plane.join("web-2", &Echo::default()).await;
    let client = || plane.client(Some(&plane.admin), Some("web-2"));

    let mut request = Request::new("hello".to_owned());
    request
        .metadata_mut()
        .insert("x-mine", "kept".parse().unwrap());
    let raw = MetadataValue::from_bytes(&[0, 159, 255]);
    request.metadata_mut().insert_bin("x-raw-bin", raw.clone());
    let answer = unary(client(), UNARY, request).await.unwrap();
    assert_eq!(answer.get_ref(), "hello");
    assert_eq!(answer.metadata().get_bin("x-raw-bin"), Some(&raw));
    assert_eq!(
        answer.metadata().get("turbopanel-mode").unwrap(),
        "websocket"
    );
    let names = answer.metadata().get("x-names").unwrap().to_str().unwrap();
    let names: Vec<_> = names.split(',').collect();
    assert!(names.contains(&"x-mine"), "{names:?}");
    for secret in ["authorization", "turbopanel-agent", "te", "host"] {
        assert!(!names.contains(&secret), "{secret} reached the agent");
    }

    let mut grpc = Grpc::new(client());
    grpc.ready().await.unwrap();
    let parts = (0..1000).map(|part| format!("{part};"));
    let whole: String = parts.clone().collect();
    let request = Request::new(tokio_stream::iter(parts));
    let answer = within(20, grpc.client_streaming(request, COLLECT, codec()))
        .await
        .unwrap();
    assert_eq!(answer.into_inner(), whole);

    let mut numbers = stream(client(), COUNT, "5000").await;
    for expected in 0..5000 {
        let number = within(20, numbers.next()).await.unwrap().unwrap();
        assert_eq!(number, expected.to_string());
    }
    let end = numbers.next().await.unwrap().unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::DataLoss, "that is all"));
    assert_eq!(end.details(), b"\x08\x0f");
    assert_eq!(end.metadata().get("x-trailer").unwrap(), "at the end");

    let (say, said) = tokio::sync::mpsc::channel(1);
    let mut grpc = Grpc::new(client());
    grpc.ready().await.unwrap();
    let request = Request::new(tokio_stream::wrappers::ReceiverStream::new(said));
    let answer = grpc.streaming(request, CHAT, codec()).await.unwrap();
    let mut heard: Streaming<String> = answer.into_inner();
    for word in ["one", "two", "three"] {
        say.send(word.to_owned()).await.unwrap();
        let answer = within(10, heard.next()).await.unwrap().unwrap();
        assert_eq!(answer, format!("you said {word}"));
    }
    drop(say);
    assert!(within(10, heard.next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_deadlines_and_cancels_pass() {
    let plane = TestPlane::start().await;
    let echo = Echo::default();
    let (_agent, _) = plane.join("web-2", &echo).await;
    let client = || plane.client(Some(&plane.admin), Some("web-2"));

    let error = unary(client(), FAIL, Request::new(String::new()))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::DataLoss, "that is all")
    );
    assert_eq!(error.metadata().get("x-trailer").unwrap(), "at the end");

    // By hand, because tonic's channel would end the call before the answer comes.
    let headers = [("grpc-timeout", "300m"), ("turbopanel-agent", "web-2")];
    let answer = plane.post("/test.Echo/Hang", &headers).await;
    assert_eq!(answer.code(), Code::DeadlineExceeded, "{answer}");
    assert_eq!(reason(&answer), "DEADLINE_PASSED");
    eventually("the late call is dropped", async || {
        echo.dropped.load(Ordering::SeqCst) == 1
    })
    .await;

    let hanging = tokio::spawn(unary(client(), HANG, Request::new(String::new())));
    eventually("the call has begun", async || {
        echo.begun.load(Ordering::SeqCst) == 2
    })
    .await;
    hanging.abort();
    eventually("the cancel arrives", async || {
        echo.dropped.load(Ordering::SeqCst) == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_says_so() {
    let plane = TestPlane::start().await;
    let (agent, _) = plane.join("web-2", &Echo::default()).await;
    let call = async |agent: Option<&str>, path: PathAndQuery| {
        let client = plane.client(Some(&plane.admin), agent);
        unary(client, path, Request::new(String::new()))
            .await
            .unwrap_err()
    };

    let error = call(Some("web-3"), UNARY).await;
    assert_eq!(
        (error.code(), reason(&error)),
        (Code::NotFound, "AGENT_UNKNOWN".into())
    );
    let error = call(Some("../volumes/x"), UNARY).await;
    assert_eq!(
        (error.code(), reason(&error)),
        (Code::InvalidArgument, "CONTROL_INVALID_FIELD".into())
    );
    let status = PathAndQuery::from_static("/turbopanel.agent.v1.AgentService/GetStatus");
    let error = call(None, status).await;
    assert_eq!(
        (error.code(), reason(&error)),
        (Code::InvalidArgument, "AGENT_NOT_NAMED".into())
    );
    assert!(
        error.message().contains("turbopanel-agent: NAME"),
        "{error}"
    );
    let error = call(None, UNARY).await;
    assert_eq!(
        (error.code(), reason(&error)),
        (Code::Unimplemented, "METHOD_UNKNOWN".into())
    );
    let nothing = PathAndQuery::from_static("/turbopanel.control.v1.FleetService/Nothing");
    assert_eq!(call(None, nothing).await.code(), Code::Unimplemented);
    let nothing = PathAndQuery::from_static("/test.Echo/Nothing");
    assert_eq!(
        call(Some("web-2"), nothing).await.code(),
        Code::Unimplemented
    );

    agent.stop();
    eventually("the agent is gone", async || {
        !plane.agent("web-2").await.connected
    })
    .await;
    let error = call(Some("web-2"), UNARY).await;
    assert_eq!(
        (error.code(), reason(&error)),
        (Code::Unavailable, "AGENT_OFFLINE".into())
    );
    assert!(error.message().contains("last seen at 20"), "{error}");
    plane
        .create(
            turbopanel_control_plane::proto::control::TokenKind::Agent,
            "new",
        )
        .await;
    let error = call(Some("new"), UNARY).await;
    assert_eq!(reason(&error), "AGENT_OFFLINE");
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_the_callers_token_ends_its_busiest_stream() {
    let plane = TestPlane::start().await;
    let (_agent, _) = plane.join("web-2", &Echo::default()).await;
    let other = plane
        .create(
            turbopanel_control_plane::proto::control::TokenKind::Admin,
            "laptop",
        )
        .await;
    let mut flood = stream(plane.client(Some(&other.secret), Some("web-2")), FLOOD, "").await;
    flood.next().await.unwrap().unwrap();
    let reading = tokio::spawn(async move {
        loop {
            if let Err(status) = flood.next().await.expect("a status at the end") {
                return status;
            }
        }
    });
    let id = other.token.unwrap().id;
    let began = Instant::now();
    plane
        .tokens()
        .revoke_token(turbopanel_control_plane::proto::control::RevokeTokenRequest { id })
        .await
        .unwrap();
    let status = within(5, reading).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::PermissionDenied, "CALLER_TOKEN_REFUSED".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_calls_after_the_grace() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut config = turbopanel_control_plane::serve::ServeConfig::new(dir.path());
    config.listen.set_port(0);
    config.grace = Duration::from_millis(300);
    config.redial_spread = Duration::from_secs(7);
    let plane = TestPlane::start_as(config).await;
    let (agent, _) = plane.join("web-2", &Echo::default()).await;
    let mut flood = stream(plane.client(Some(&plane.admin), Some("web-2")), FLOOD, "").await;
    flood.next().await.unwrap().unwrap();
    plane.begin_stop();
    let reading = async {
        loop {
            match flood.next().await {
                Some(Ok(_)) => {}
                Some(Err(status)) => return Some(status),
                None => return None,
            }
        }
    };
    let status = within(10, reading).await.expect("a status");
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::Unavailable, "CONTROL_PLANE_STOPPING".into())
    );
    let end = agent.ended(10).await;
    assert!(end.redial_after.is_some(), "no goodbye: {end}");
    assert_eq!(end.redial_spread, Some(Duration::from_secs(7)));
    plane.stop().await;
}
