//! A control plane that is told to stop: what runs on the integrated agent ends by itself or with a
//! status, and what only reads does not hold it.

use std::{path::Path, time::Duration};

use tempfile::TempDir;
use tokio_stream::StreamExt;
use tonic::{Code, Streaming};
use turbopanel_control_plane::{
    proto::{
        agent::{
            RunCommandResponse, WatchStatusRequest, agent_service_client::AgentServiceClient,
            command_service_client::CommandServiceClient,
        },
        control::WatchAgentsRequest,
    },
    serve::ServeConfig,
};

use crate::{
    frames::caller,
    plane::{TestPlane, eventually, reason, within},
    real_agent::{begun, collect, shell, sleeper},
};

async fn plane(dir: &TempDir, grace: Duration) -> TestPlane {
    let mut config = ServeConfig::new(dir.path());
    config.listen.set_port(0);
    config.grace = grace;
    TestPlane::start_as(config).await
}

/// Runs a script on `local` as a gRPC caller, until its first output.
async fn run(plane: &TestPlane, script: &str) -> (String, Streaming<RunCommandResponse>) {
    let client = plane.client(Some(&plane.admin), Some("local"));
    let mut commands = CommandServiceClient::new(client);
    let steps = tokio_stream::once(shell(script));
    begun(commands.run_command(steps).await.unwrap().into_inner()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_on_local_ends_by_itself_within_the_grace() {
    let dir = TempDir::new().unwrap();
    let plane = plane(&dir, Duration::from_secs(60)).await;
    let (_, answer) = run(&plane, "echo begun; sleep 1; echo done; exit 3").await;
    plane.begin_stop();
    assert_eq!(collect(answer).await, ("done\n".to_owned(), Some(3)));
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_on_local_that_goes_on_is_not_taken_for_done() {
    let dir = TempDir::new().unwrap();
    let plane = plane(&dir, Duration::from_millis(300)).await;
    let by_grpc = run(&plane, "echo $$; exec sleep 600").await;
    let by_frames = sleeper(caller(&plane, &plane.admin, "/client/connect?agent=local")).await;
    plane.begin_stop();
    for (pid, mut answer) in [by_grpc, by_frames] {
        let error = within(20, answer.next()).await.unwrap().unwrap_err();
        assert_eq!(
            (error.code(), reason(&error)),
            (Code::Unavailable, "CONTROL_PLANE_STOPPING".into())
        );
        eventually("the command is killed", async || {
            !Path::new("/proc").join(pid.trim()).exists()
        })
        .await;
    }
    plane.stop().await;
}

/// The grace is longer than the test may take: none of this may use it.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_reads_ends_at_once() {
    let dir = TempDir::new().unwrap();
    let plane = plane(&dir, Duration::from_secs(600)).await;
    let mut fleet = plane.fleet();
    let fleet = fleet.watch_agents(WatchAgentsRequest {}).await.unwrap();
    let mut agents = fleet.into_inner();
    let watch = WatchStatusRequest::default();
    let grpc = plane.client(Some(&plane.admin), Some("local"));
    let mut grpc = AgentServiceClient::new(grpc);
    let mut by_grpc = grpc.watch_status(watch).await.unwrap().into_inner();
    let frames = caller(&plane, &plane.admin, "/client/connect?agent=local");
    let mut frames = AgentServiceClient::new(frames);
    let mut by_frames = frames.watch_status(watch).await.unwrap().into_inner();
    plane.begin_stop();
    let ends = [
        within(20, last(&mut agents)).await,
        within(20, last(&mut by_grpc)).await,
        within(20, last(&mut by_frames)).await,
    ];
    for end in ends {
        assert_eq!(
            (end.code(), reason(&end)),
            (Code::Unavailable, "CONTROL_PLANE_STOPPING".into())
        );
    }
    plane.stop().await;
}

async fn last<T>(stream: &mut Streaming<T>) -> tonic::Status {
    loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(status)) => return status,
            None => panic!("it ended as if it were whole"),
        }
    }
}
