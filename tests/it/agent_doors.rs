//! The agent's own port: who is let in, what reflection lists, and deadlines.

use std::time::Duration;

use prost::Message;
use prost_types::FileDescriptorProto;
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt;
use turbopanel_agent::proto::{
    GetStatusRequest, WatchStatusRequest, agent_service_client::AgentServiceClient,
};

use crate::agent_support::{Agent, TOKEN};

/// Asks reflection, on a channel with this token or without one.
async fn reflect(
    agent: &Agent,
    token: Option<&str>,
    what: MessageRequest,
) -> Result<MessageResponse, Status> {
    let mut client = ServerReflectionClient::new(agent.connect(token).await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(what),
    };
    let answers = client.server_reflection_info(tokio_stream::iter([request]));
    let answer = answers.await?.into_inner().next().await.unwrap()?;
    Ok(answer.message_response.unwrap())
}

/// The path of every method that reflection lists.
async fn methods(agent: &Agent) -> Vec<String> {
    let all = MessageRequest::ListServices(String::new());
    let listed = reflect(agent, Some(TOKEN), all).await.unwrap();
    let MessageResponse::ListServicesResponse(listed) = listed else {
        panic!("{listed:?}");
    };
    let mut methods = Vec::new();
    for service in listed.service {
        let symbol = MessageRequest::FileContainingSymbol(service.name.clone());
        let files = reflect(agent, Some(TOKEN), symbol).await.unwrap();
        let MessageResponse::FileDescriptorResponse(files) = files else {
            panic!("{files:?}");
        };
        for file in files.file_descriptor_proto {
            let file = FileDescriptorProto::decode(file.as_slice()).unwrap();
            for described in &file.service {
                if format!("{}.{}", file.package(), described.name()) == service.name {
                    let path = |method: &prost_types::MethodDescriptorProto| {
                        format!("/{}/{}", service.name, method.name())
                    };
                    methods.extend(described.method.iter().map(path));
                }
            }
        }
    }
    methods
}

/// Calls a method of any kind with an empty message; answers the first thing that comes back.
async fn call(agent: &Agent, token: Option<&str>, path: &str) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(agent.connect(token).await);
    client.ready().await.unwrap();
    // Any message is one without fields to whoever does not know its fields.
    let codec = tonic_prost::ProstCodec::<GetStatusRequest, GetStatusRequest>::default();
    let request = Request::new(tokio_stream::iter([GetStatusRequest {}]));
    let answer = client.streaming(request, path.parse().unwrap(), codec);
    answer.await?.into_inner().message().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_without_the_token_nothing_answers_but_liveness() {
    let agent = Agent::start(&[("AGENT_TOKEN", TOKEN)]);
    let methods = methods(&agent).await;
    for method in [
        "AgentService/WatchStatus",
        "CommandService/RunCommand",
        "ContainerService/RemoveContainer",
        "LogService/StreamLogs",
    ] {
        let path = format!("/turbopanel.agent.v1.{method}");
        assert!(methods.contains(&path), "{path}: {methods:?}");
    }
    let code =
        |answer: &Result<(), Status>| answer.as_ref().map_or_else(Status::code, |()| Code::Ok);
    for path in &methods {
        let answer = call(&agent, Some(TOKEN), path).await;
        assert_ne!(code(&answer), Code::Unauthenticated, "{path}: {answer:?}");
    }
    let (live, guarded): (Vec<_>, Vec<_>) = methods
        .iter()
        .partition(|path| *path == "/grpc.health.v1.Health/Check");
    assert_eq!(live.len(), 1, "{methods:?}");
    let answer = call(&agent, None, live[0]).await;
    assert_eq!(code(&answer), Code::Ok, "{answer:?}");
    // What does not exist is no way in either. Each wrong token slows the next answer: all ask at once.
    let missing = "/turbopanel.agent.v1.AgentService/Fly".to_owned();
    let get_status = "/turbopanel.agent.v1.AgentService/GetStatus".to_owned();
    let longer = format!("{TOKEN}x");
    let asked = guarded
        .into_iter()
        .chain([&missing])
        .flat_map(|path| [(path, None), (path, Some("wrong"))]);
    let close = ["", &TOKEN[1..], &longer].map(|wrong| (&get_status, Some(wrong)));
    let asked: Vec<_> = asked.chain(close).collect();
    let agent = &agent;
    let ask = async |(path, wrong): &(&String, Option<&str>)| {
        let answer = call(agent, *wrong, path).await;
        assert_eq!(code(&answer), Code::Unauthenticated, "{path}: {answer:?}");
        let details = answer.unwrap_err().get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("TOKEN_REQUIRED", "turbopanel.dev")
        );
    };
    // The agent lets so many wait.
    for some in asked.chunks(60) {
        futures_util::future::join_all(some.iter().map(ask)).await;
    }
    // The right one lets in whoever failed before.
    let answer = call(agent, Some(TOKEN), &get_status).await;
    assert_eq!(code(&answer), Code::Ok, "{answer:?}");
    assert!(!agent.log().contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_what_the_machine_says() {
    let agent = Agent::start(&[("AGENT_NAME", "web-7")]);
    let mut client = AgentServiceClient::new(agent.connect(None).await);
    let status = client
        .get_status(GetStatusRequest {})
        .await
        .unwrap()
        .into_inner()
        .status
        .unwrap();
    assert_eq!(
        (status.name.as_str(), status.mode.as_str()),
        ("web-7", "websocket")
    );
    assert_eq!(status.instance.len(), 32);
    let engine = status.engine.unwrap();
    assert!(
        engine.reachable && !engine.version.is_empty() && engine.api_version.starts_with("1."),
        "{engine:?}"
    );
    let host = status.host.unwrap();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(host.memory_total_bytes, total * 1024);
    assert!(host.disk_total_bytes > host.disk_available_bytes && host.cpus > 0);

    let request = WatchStatusRequest {
        interval: Some(Duration::from_secs(1).try_into().unwrap()),
    };
    let mut watched = client.watch_status(request).await.unwrap().into_inner();
    for _ in 0..2 {
        assert_eq!(
            watched.next().await.unwrap().unwrap().status.unwrap().name,
            "web-7"
        );
    }
    let request = WatchStatusRequest {
        interval: Some(Duration::from_millis(1).try_into().unwrap()),
    };
    let status = client.watch_status(request).await.unwrap_err();
    assert_eq!(
        status.get_error_details().error_info().unwrap().reason,
        "INVALID_FIELD"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_stream_too() {
    let agent = Agent::start(&[]);
    let mut client = AgentServiceClient::new(agent.connect(None).await);
    let mut request = Request::new(WatchStatusRequest::default());
    request.set_timeout(Duration::from_millis(300));
    let mut watched = client.watch_status(request).await.unwrap().into_inner();
    let status = loop {
        match watched.next().await.expect("an error before the end") {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

/// Connections that say nothing take nobody's place for long.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_make_room_again() {
    let agent = Agent::start(&[("AGENT_TOKEN", TOKEN)]);
    agent.connect(Some(TOKEN)).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(("127.0.0.1", agent.port)).await.unwrap());
    }
    let mut client = AgentServiceClient::new(agent.connect(Some(TOKEN)).await);
    let asking = client.get_status(GetStatusRequest {});
    tokio::time::timeout(Duration::from_secs(60), asking)
        .await
        .expect("an answer")
        .unwrap();
    // What was silent is closed from the other side.
    let mut first = silent.swap_remove(0);
    let mut greeting = Vec::new();
    let reading = first.read_to_end(&mut greeting);
    let ended = tokio::time::timeout(Duration::from_secs(60), reading).await;
    assert!(ended.is_ok(), "it is not closed");
}

/// The usual limit on open files is for programs that have a few.
#[test]
fn the_limit_on_open_files_is_raised() {
    let mut command = std::process::Command::new("/usr/bin/prlimit");
    command.args([
        "--nofile=64:4096",
        "--",
        env!("CARGO_BIN_EXE_turbopanel-agent"),
    ]);
    command.env_clear().stdin(std::process::Stdio::null());
    let agent = Agent::start_by(command, &[]);
    let limits = format!("/proc/{}/limits", agent.child.id());
    let limits = std::fs::read_to_string(limits).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let numbers: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["4096", "4096"]);
}

/// Whoever only asks for liveness holds no place for long; whoever has shown the token stays.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_leave() {
    let agent = Agent::start(&[("AGENT_TOKEN", TOKEN)]);
    let connect = async |path: &str, token: &str| {
        let tcp = TcpStream::connect(("127.0.0.1", agent.port)).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(tcp);
        let executor = hyper_util::rt::TokioExecutor::new();
        let handshake = hyper::client::conn::http2::handshake(executor, io);
        let (mut sender, connection) = handshake.await.unwrap();
        let ended = tokio::spawn(async move { connection.await.is_ok() });
        let request = http::Request::post(format!("http://127.0.0.1:{}{path}", agent.port))
            .header("content-type", "application/grpc")
            .header("authorization", format!("Bearer {token}"))
            .body(http_body_util::Full::new(bytes::Bytes::from_static(
                &[0; 5],
            )))
            .unwrap();
        assert!(
            sender
                .send_request(request)
                .await
                .unwrap()
                .status()
                .is_success()
        );
        (sender, ended)
    };
    let (_held, guest) = connect("/turbopanel.agent.v1.AgentService/GetStatus", TOKEN).await;
    let (_held_too, stranger) = connect("/grpc.health.v1.Health/Check", "").await;
    let (_held_as_well, intruder) =
        connect("/turbopanel.agent.v1.AgentService/GetStatus", "x").await;
    for gone in [stranger, intruder] {
        tokio::time::timeout(Duration::from_secs(90), gone)
            .await
            .unwrap()
            .unwrap();
    }
    assert!(!guest.is_finished());
}
