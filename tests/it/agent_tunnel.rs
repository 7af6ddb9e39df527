//! What holds for every call, through the tunnel and on the agent's own port alike.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;
use turbopanel_agent::{
    engines::docker::EngineAddress,
    proto::{
        CommandStart, GetContainerRequest, HostTarget, KillContainerRequest, RunCommandRequest,
        StreamLogsRequest, command_service_client::CommandServiceClient, command_start::Target,
        container_service_client::ContainerServiceClient, log_service_client::LogServiceClient,
        run_command_request::Step,
    },
};

use crate::{
    agent_support::Agent,
    docker_relay::{ENGINE, Relay},
    docker_support::{TestContainer, eventually},
    tunnel_support::Tunnel,
};

/// A way to an agent: what a generated client takes.
macro_rules! ways {
    ($channel:ident => $work:expr) => {{
        let tunnel = Tunnel::to(EngineAddress::default()).await;
        let $channel = tunnel.channel.clone();
        $work;
        let agent = Agent::start(&[]);
        let $channel = agent.connect(None).await;
        $work;
    }};
}

#[track_caller]
fn reason(status: &Status) -> String {
    let info = status.get_error_details().error_info().cloned();
    let info = info.unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "turbopanel.dev");
    info.reason
}

/// What is too long for a header is cut, and the error stays what it is.
#[tokio::test(flavor = "multi_thread")]
async fn long_names_get_their_own_error() {
    let long = "é".repeat(20_000);
    ways!(channel => {
        let start = CommandStart {
            target: Some(Target::Host(HostTarget {})),
            argv: vec![format!("/{long}")],
            ..CommandStart::default()
        };
        let request = RunCommandRequest { step: Some(Step::Start(start)) };
        let answer = CommandServiceClient::new(channel.clone())
            .run_command(tokio_stream::iter([request]))
            .await;
        let failed = match answer {
            Err(status) => status,
            Ok(mut answers) => answers.get_mut().message().await.unwrap_err(),
        };
        // The kernel takes no path as long as this.
        assert_ne!(failed.code(), Code::Unavailable, "{failed:?}");
        assert!(!reason(&failed).is_empty());
        let shown = failed.message().len();
        assert!((100..4096).contains(&shown), "{shown} bytes: {failed:?}");

        let request = GetContainerRequest { container: long.clone(), ..Default::default() };
        let get = ContainerServiceClient::new(channel.clone()).get_container(request).await;
        let request = KillContainerRequest { container: "x".into(), signal: long.clone() };
        let kill = ContainerServiceClient::new(channel.clone()).kill_container(request).await;
        let request = StreamLogsRequest { container: long.clone(), ..Default::default() };
        let logs = LogServiceClient::new(channel).stream_logs(request).await;
        for status in [get.unwrap_err(), kill.unwrap_err(), logs.unwrap_err()] {
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
            assert_eq!(reason(&status), "INVALID_FIELD");
            assert!(status.message().len() < 1024, "{status:?}");
        }
    });
}

/// A method that is not there is named, with what to do, whatever its service.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_methods_are_told() {
    ways!(channel => {
        for path in [
            "/turbopanel.agent.v1.AgentService/Fly",
            "/turbopanel.agent.v1.BirdService/Fly",
            "/grpc.health.v1.Health/Fly",
            "/x",
            &format!("/a/{}", "b".repeat(5000)),
        ] {
            let mut client = tonic::client::Grpc::new(channel.clone());
            client.ready().await.unwrap();
            let codec = tonic_prost::ProstCodec::<GetContainerRequest, GetContainerRequest>::default();
            let request = tonic::Request::new(GetContainerRequest::default());
            let path: http::uri::PathAndQuery = path.parse().unwrap();
            let status = client.unary(request, path.clone(), codec).await.unwrap_err();
            assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
            assert_eq!(reason(&status), "METHOD_NOT_FOUND");
            let shown = &path.path()[..path.path().len().min(200)];
            assert!(status.message().contains(shown), "{status:?}");
            assert!(status.message().contains("grpcurl"), "{status:?}");
            assert!(status.message().len() < 600, "{status:?}");
        }
    });
}

/// A caller that stops reading keeps nothing past its deadline: the handler goes, and the engine's connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_not_read_ends_at_its_deadline() {
    let noisy = ["sh", "-c", "while :; do seq 10000; done"];
    let container = TestContainer::run(&["--log-opt=max-size=10m"], &noisy);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let relay = Relay::start(&path, ENGINE);
    let agent = Agent::start(&[("DOCKER_HOST", path.to_str().unwrap())]);
    let request = || {
        let mut request = tonic::Request::new(StreamLogsRequest {
            container: container.name.clone(),
            follow: true,
            ..Default::default()
        });
        request.set_timeout(Duration::from_secs(3));
        request
    };
    // The agent's own idle connection, and the log's.
    let opened = async || eventually("the log is open", async || relay.open() == 2).await;
    let closed = async || eventually("only the idle one is left", async || relay.open() == 1).await;

    // On the local port: the sockets fill up, and then nobody asks the body for more.
    let mut client = LogServiceClient::new(agent.connect(None).await);
    let mut unread = client.stream_logs(request()).await.unwrap().into_inner();
    opened().await;
    closed().await;
    // What had been sent is there, and then how it ended.
    let status = loop {
        match unread.message().await {
            Ok(message) => assert!(message.is_some(), "an end without a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(reason(&status), "TIME_OVER");
    drop(agent);

    // In process, where the body is not even looked at.
    let far = turbopanel_agent::Agent::integrated("far", EngineAddress::Unix(path.clone()), None);
    let router = turbopanel_agent::router::build(&far).await;
    let mut client = LogServiceClient::new(router);
    let unread = client.stream_logs(request()).await.unwrap();
    opened().await;
    closed().await;
    drop(unread);
}
