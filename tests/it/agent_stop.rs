//! C10: how an agent stops. `docker stop` gives it ten seconds, and never has to kill it.

use std::time::Duration;

use rustix::process::Signal;
use tokio_stream::StreamExt;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt;
use turbopanel_agent::{
    engines::docker::EngineAddress,
    proto::{
        CommandStart, HostTarget, ListContainersRequest, RunCommandRequest, RunCommandResponse,
        StopContainerRequest, StreamLogsRequest, WatchStatusRequest,
        agent_service_client::AgentServiceClient, command_service_client::CommandServiceClient,
        command_start::Target, container_service_client::ContainerServiceClient,
        log_service_client::LogServiceClient, run_command_request, run_command_response,
    },
    router,
};

use crate::{
    agent_support::{Agent, TOKEN, eventually},
    command_support::members,
    docker_support::TestContainer,
};

/// Runs a command on the host until it has started.
async fn started(agent: &Agent, argv: &[&str]) -> Streaming<RunCommandResponse> {
    started_with_group(agent, argv).await.0
}

/// The same, and its process group.
async fn started_with_group(agent: &Agent, argv: &[&str]) -> (Streaming<RunCommandResponse>, u32) {
    let start = CommandStart {
        target: Some(Target::Host(HostTarget {})),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        ..CommandStart::default()
    };
    let start = RunCommandRequest {
        step: Some(run_command_request::Step::Start(start)),
    };
    let steps = tokio_stream::iter([start]).chain(tokio_stream::pending());
    let mut client = CommandServiceClient::new(agent.connect(Some(TOKEN)).await);
    let mut answers = client.run_command(steps).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap();
    match first.step {
        Some(run_command_response::Step::Started(started)) => (answers, started.pid),
        other => panic!("{other:?}"),
    }
}

/// Reads to the end, which is an error.
async fn end_of<T>(mut stream: Streaming<T>) -> Status {
    let ending = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended as if all were well"),
                Err(status) => return status,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ending)
        .await
        .expect("an end")
}

fn is_stopping(status: &Status) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    assert_eq!(
        (status.code(), reason),
        (Code::Unavailable, Some("AGENT_STOPPING")),
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn c10_a_stop_ends_reads_at_once_and_lets_commands_end() {
    let container =
        TestContainer::run(&[], &["sh", "-c", "while :; do echo tick; sleep 0.1; done"]);
    let mut agent = Agent::start(&[("AGENT_TOKEN", TOKEN)]);
    let mut logs = LogServiceClient::new(agent.connect(Some(TOKEN)).await);
    let follow = StreamLogsRequest {
        container: container.name.clone(),
        follow: true,
        ..StreamLogsRequest::default()
    };
    let follow = logs.stream_logs(follow).await.unwrap().into_inner();
    let mut status = AgentServiceClient::new(agent.connect(Some(TOKEN)).await);
    let watch = status.watch_status(WatchStatusRequest::default());
    let watch = watch.await.unwrap().into_inner();
    let mut health = HealthClient::new(agent.connect(Some(TOKEN)).await);
    let health = health.watch(HealthCheckRequest::default()).await.unwrap();
    let mut health = health.into_inner();
    let now = health.message().await.unwrap().unwrap();
    assert_eq!(now.status(), ServingStatus::Serving);
    let mut short = started(&agent, &["sh", "-c", "sleep 2; echo done"]).await;
    let long = started(&agent, &["sleep", "7211"]).await;

    agent.signal(Signal::TERM);
    is_stopping(&end_of(follow).await);
    is_stopping(&end_of(watch).await);
    let now = health.message().await.unwrap().unwrap();
    assert_eq!(now.status(), ServingStatus::NotServing);
    let mut seen = String::new();
    let exited = loop {
        match short.message().await.unwrap().unwrap().step.unwrap() {
            run_command_response::Step::Stdout(bytes) => {
                seen.push_str(&String::from_utf8_lossy(&bytes));
            }
            run_command_response::Step::Exited(exited) => break exited,
            _ => {}
        }
    };
    assert_eq!((seen.as_str(), exited.exit_code), ("done\n", 0));
    is_stopping(&end_of(long).await);
    assert_eq!(agent.ended().code(), Some(0));
    assert!(agent.log().contains("stopped"), "{}", agent.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn c10_a_second_signal_ends_at_once() {
    let mut agent = Agent::start(&[("AGENT_TOKEN", TOKEN)]);
    let script = ["sh", "-c", "trap '' TERM; sleep 7212 & sleep 7212"];
    let (_long, group) = started_with_group(&agent, &script).await;
    eventually("it runs", || members(group) > 1);
    agent.signal(Signal::TERM);
    agent.logged("stopping");
    agent.signal(Signal::TERM);
    assert_eq!(agent.ended().code(), Some(1));
    assert!(!agent.log().contains("stopped"), "{}", agent.log());
    eventually("no command is left behind", || members(group) == 0);
}

/// A change that takes longer than the grace ends with a status, and none begins after the stop was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn c10_changes_end_with_a_status_and_none_begin() {
    let stubborn = ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"];
    let container = TestContainer::run(&["--init=false"], &stubborn);
    let mut agent = Agent::start(&[("AGENT_TOKEN", TOKEN)]);
    let mut client = ContainerServiceClient::new(agent.connect(Some(TOKEN)).await);
    let request = StopContainerRequest {
        container: container.name.clone(),
        grace: Some(Duration::from_secs(60).try_into().unwrap()),
    };
    let change = tokio::spawn(async move { client.stop_container(request).await });
    // Until the engine has it; nothing else tells.
    tokio::time::sleep(Duration::from_secs(1)).await;
    agent.signal(Signal::TERM);
    is_stopping(&change.await.unwrap().unwrap_err());
    assert_eq!(agent.ended().code(), Some(0));

    let agent = turbopanel_agent::Agent::integrated("far", EngineAddress::default(), None);
    let router = router::build(&agent).await;
    agent.draining().cancel();
    let mut client = ContainerServiceClient::new(router.clone());
    let refused = client.list_containers(ListContainersRequest::default());
    is_stopping(&refused.await.unwrap_err());
    let mut health = HealthClient::new(router);
    let mut status = ServingStatus::Serving;
    while status == ServingStatus::Serving {
        let answer = health.check(HealthCheckRequest::default()).await.unwrap();
        status = answer.into_inner().status();
    }
    assert_eq!(status, ServingStatus::NotServing);
}
