//! Every door with no token, a wrong one, a revoked one, and one of the wrong kind.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_stream::StreamExt;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use tonic::{Code, Request, Status, client::Grpc};
use tonic_prost::ProstCodec;
use turbopanel_control_plane::{
    proto::control::{RevokeTokenRequest, TokenKind},
    serve::{Plane, ServeConfig},
};

use crate::plane::{TestPlane, eventually, reason, within};

/// All that reflection lists, as (service, method) paths.
fn methods() -> Vec<String> {
    use prost::Message;
    let sets = [
        turbopanel_control_plane::proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ];
    let mut paths = Vec::new();
    for set in sets {
        for file in prost_types::FileDescriptorSet::decode(set).unwrap().file {
            for service in &file.service {
                for method in &service.method {
                    paths.push(format!(
                        "/{}.{}/{}",
                        file.package(),
                        service.name(),
                        method.name()
                    ));
                }
            }
        }
    }
    paths
}

async fn call(plane: &TestPlane, token: Option<&str>, agent: Option<&str>, path: &str) -> Status {
    let mut grpc = Grpc::new(plane.client(token, agent));
    grpc.ready().await.unwrap();
    let codec: ProstCodec<(), ()> = ProstCodec::default();
    let calling = grpc.server_streaming(Request::new(()), path.parse().unwrap(), codec);
    match within(10, calling).await {
        Err(status) => status,
        Ok(response) => match within(10, response.into_inner().message()).await {
            Err(status) => status,
            Ok(_) => Status::ok("it answered"),
        },
    }
}

/// Tokens that let no caller in, and with what they are refused.
fn wrong_tokens(admin: &str, agents: &str, revoked: &str) -> [(String, Code); 6] {
    [
        ("nonsense".to_owned(), Code::Unauthenticated),
        (format!("{admin}x"), Code::Unauthenticated),
        (format!("{}AAAA", &admin[..60]), Code::Unauthenticated),
        (admin.replace("tpc_", "tpa_"), Code::Unauthenticated),
        (agents.to_owned(), Code::PermissionDenied),
        (revoked.to_owned(), Code::PermissionDenied),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_asks_for_a_callers_token() {
    let plane = TestPlane::start().await;
    let agents = plane.create(TokenKind::Agent, "web-2").await.secret;
    let revoked = plane.create(TokenKind::Admin, "old laptop").await;
    let id = revoked.token.unwrap().id;
    plane
        .tokens()
        .revoke_token(RevokeTokenRequest { id })
        .await
        .unwrap();
    let methods = methods();
    assert!(methods.len() > 15, "{methods:?}");
    for path in &methods {
        for agent in [None, Some("local"), Some("web-2"), Some("nobody")] {
            if path == "/grpc.health.v1.Health/Check" && agent.is_none() {
                continue;
            }
            let status = call(&plane, None, agent, path).await;
            assert_eq!(
                status.code(),
                Code::Unauthenticated,
                "{path} {agent:?}: {status}"
            );
            assert_eq!(reason(&status), "CALLER_TOKEN_REQUIRED");
        }
    }
    // Many at once, because refusals of wrong tokens wait, and not all: so many may not wait.
    for paths in methods.chunks(32) {
        let mut calls = Vec::new();
        for path in paths {
            for (token, code) in wrong_tokens(&plane.admin, &agents, &revoked.secret) {
                let plane = &plane;
                calls.push(async move {
                    for agent in [None, Some("local"), Some("web-2")] {
                        let status = call(plane, Some(&token), agent, path).await;
                        assert_eq!(status.code(), code, "{path} {agent:?}: {status}");
                        assert!(!format!("{status:?}").contains(&token));
                    }
                });
            }
        }
        futures_util::future::join_all(calls).await;
    }
    let path = "/turbopanel.control.v1.FleetService/ListAgents";
    let valid = format!("Bearer {}", plane.admin);
    let status = plane.post(path, &[("authorization", &valid)]).await;
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::Unauthenticated, "CALLER_TOKEN_REQUIRED".into()),
        "two authorizations are none"
    );
    assert_eq!(
        call(&plane, Some(&plane.admin), None, path).await.code(),
        Code::Ok
    );
    let health = call(&plane, None, None, "/grpc.health.v1.Health/Check").await;
    assert_eq!(health.code(), Code::Ok, "health needs no token: {health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_of_a_websocket_says_the_mend() {
    let plane = TestPlane::start().await;
    let agent = plane.create(TokenKind::Agent, "web-2").await;
    let agents = format!("Bearer {}", agent.secret);
    let admins = format!("Bearer {}", plane.admin);
    let old = plane.create(TokenKind::Agent, "web-3").await;
    let id = old.token.unwrap().id;
    plane
        .tokens()
        .revoke_token(RevokeTokenRequest { id })
        .await
        .unwrap();
    let old = format!("Bearer {}", old.secret);
    let old_admins = plane.create(TokenKind::Admin, "old laptop").await;
    let id = old_admins.token.unwrap().id;
    plane
        .tokens()
        .revoke_token(RevokeTokenRequest { id })
        .await
        .unwrap();
    let old_admins = format!("Bearer {}", old_admins.secret);

    // Path, headers, status, and what the mend mentions.
    type Refused<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);
    let refusals: &[Refused<'_>] = &[
        ("/agent/connect", &[], "401", "authorization: Bearer TOKEN"),
        (
            "/agent/connect",
            &[("authorization", "Bearer x")],
            "401",
            "token create",
        ),
        (
            "/agent/connect",
            &[("authorization", "Basic eDp5")],
            "401",
            "token create",
        ),
        (
            "/agent/connect",
            &[("authorization", &old)],
            "403",
            "was revoked",
        ),
        (
            "/agent/connect",
            &[("authorization", &admins)],
            "403",
            "an agent needs its own",
        ),
        (
            "/agent/connect",
            &[("authorization", &agents), ("turbopanel-agent", "web-9")],
            "409",
            "unset AGENT_NAME",
        ),
        (
            "/agent/connect",
            &[("authorization", &agents)],
            "426",
            "WebSocket",
        ),
        (
            "/agent/connect",
            &[
                ("authorization", &agents),
                ("upgrade", "websocket"),
                ("connection", "upgrade"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
            "426",
            "turbopanel.tunnel.v1",
        ),
        ("/client/connect", &[], "401", "authorization: Bearer TOKEN"),
        (
            "/client/connect",
            &[("authorization", "Bearer x")],
            "401",
            "token create",
        ),
        (
            "/client/connect?agent=local",
            &[("authorization", &old_admins)],
            "403",
            "was revoked",
        ),
        (
            "/client/connect",
            &[("authorization", &admins), ("authorization", &admins)],
            "401",
            "token create",
        ),
        (
            "/agent/connect",
            &[("authorization", &agents), ("authorization", &agents)],
            "401",
            "token create",
        ),
        (
            "/client/connect",
            &[("authorization", &agents)],
            "403",
            "administrator's token",
        ),
        (
            "/client/connect?agent=web-7",
            &[("authorization", &admins)],
            "404",
            "no agent web-7",
        ),
        (
            "/client/connect",
            &[("authorization", &admins)],
            "426",
            "WebSocket",
        ),
        ("/nothing", &[], "404", "control plane"),
    ];
    for (path, headers, status, mend) in refusals {
        let answer = plane.get(path, headers).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
        assert!(
            answer.contains("turbopanel-mode: websocket"),
            "{path}: {answer}"
        );
        assert!(answer.contains(mend), "{path}: {answer}");
        assert!(!answer.contains(&agent.secret) && !answer.contains(&plane.admin));
    }
    let healthy = plane.get("/healthz", &[]).await;
    assert!(healthy.starts_with("HTTP/1.1 200 ") && healthy.contains(r#"{"status":"ok""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_slowed_and_right_ones_are_not() {
    let plane = TestPlane::start().await;
    let wrong = [("authorization", "Bearer wrong")];
    let began = Instant::now();
    for _ in 0..13 {
        assert!(
            plane
                .get("/agent/connect", &wrong)
                .await
                .starts_with("HTTP/1.1 401")
        );
    }
    assert!(
        began.elapsed() > Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
    let began = Instant::now();
    plane.agent("local").await;
    assert!(
        began.elapsed() < Duration::from_millis(1500),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_over_http_1_is_told_what_is_missing() {
    let plane = TestPlane::start().await;
    let answer = plane
        .get(
            "/grpc.health.v1.Health/Check",
            &[("content-type", "application/grpc")],
        )
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 505 ") && answer.contains("HTTP/2"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_closed() {
    let plane = TestPlane::start().await;
    let said = [&b""[..], b"PRI * HT", b"GET /healthz HTTP/1.1\r\nHost: x"];
    let silent = said.map(|said| async move {
        let mut silent = TcpStream::connect(plane.address).await.unwrap();
        silent.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        // Closed or reset: either way it ends.
        let _ = within(30, silent.read_to_end(&mut rest)).await;
    });
    futures_util::future::join_all(silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_says_nothing_after_the_upgrade_is_too_late() {
    let plane = TestPlane::start().await;
    let agent = plane.create(TokenKind::Agent, "web-2").await;
    let mut request = format!("ws://{}/agent/connect", plane.address)
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    let protocol = turbopanel_tunnel::SUBPROTOCOL.parse().unwrap();
    headers.insert("sec-websocket-protocol", protocol);
    let token = format!("Bearer {}", agent.secret).parse().unwrap();
    headers.insert("authorization", token);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let closed = async {
        loop {
            if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
                return frame.unwrap();
            }
        }
    };
    let closed = within(30, closed).await;
    assert_eq!(u16::from(closed.code), 4408, "{closed:?}");
    assert!(!plane.agent("web-2").await.connected);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_told_to_come_again() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut config = ServeConfig::new(dir.path());
    config.listen.set_port(0);
    config.max_connections = 2;
    let plane = TestPlane::start_as(config).await;
    let first = TcpStream::connect(plane.address).await.unwrap();
    let _second = TcpStream::connect(plane.address).await.unwrap();
    for _ in 0..20 {
        let answer = plane.get("/healthz", &[]).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer:?}");
        assert!(
            answer.contains("Retry-After: 5") && answer.ends_with("more connections\n"),
            "{answer:?}"
        );
    }
    drop(first);
    eventually("there is room again", async || {
        plane
            .get("/healthz", &[])
            .await
            .starts_with("HTTP/1.1 200 ")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_told_with_its_mend() {
    let plane = TestPlane::start().await;
    let dir = tempfile::TempDir::new().unwrap();
    let mut config = ServeConfig::new(dir.path());
    config.listen = plane.address;
    let error = Plane::bind(config).await.unwrap_err().to_string();
    assert!(
        error.contains("is in use") && error.contains("--listen"),
        "{error}"
    );
}
