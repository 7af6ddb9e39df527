//! What the agent says of itself is so: its name, its engine, and what of it serves.

use std::time::Duration;

use tokio_stream::StreamExt;
use tonic::Streaming;
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};
use turbopanel_agent::{
    engines::docker::EngineAddress,
    proto::{GetStatusRequest, WatchStatusRequest, agent_service_client::AgentServiceClient},
};

use crate::{
    agent_support::Agent,
    docker_relay::{ENGINE, Relay, Treatment},
    docker_support::{PrivateEngine, eventually},
    tunnel_support::{Plane, Tunnel},
};

/// Without AGENT_NAME the token says who the agent is, and so does the agent once it has heard it.
#[tokio::test(flavor = "multi_thread")]
async fn the_control_plane_names_the_agent() {
    let plane = Plane::start("web-9").await;
    let agent = Agent::start(&[("CONTROL_PLANE_URL", &plane.url)]);
    eventually("it is connected", async || {
        plane.remote.presence().borrow().connected
    })
    .await;
    let mut client = AgentServiceClient::new(agent.connect(None).await);
    let mut name = async || {
        let answer = client.get_status(GetStatusRequest {}).await.unwrap();
        answer.into_inner().status.unwrap().name
    };
    eventually("it goes by that name", async || name().await == "web-9").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_status_and_the_first_heartbeat_are_right() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("late");
    // An engine that takes its time: nothing is known of it yet when the call comes.
    let _late = Relay::with(&path, ENGINE, |_| {
        Treatment::Late(Duration::from_millis(500))
    });
    let tunnel = Tunnel::to(EngineAddress::Unix(path)).await;
    let mut client = AgentServiceClient::new(tunnel.channel.clone());
    let request = WatchStatusRequest::default();
    let mut statuses = client.watch_status(request).await.unwrap().into_inner();
    let first = statuses.next().await.unwrap().unwrap().status.unwrap();
    let engine = first.engine.unwrap();
    assert!(engine.reachable, "{engine:?}");

    // Heartbeats do not ask the engine either: one question at the start is all that it hears.
    let path = directory.path().join("s");
    let relay = Relay::start(&path, ENGINE);
    let plane = Plane::start("web-9").await;
    let _agent = Agent::start(&[
        ("CONTROL_PLANE_URL", &plane.url),
        ("DOCKER_HOST", path.to_str().unwrap()),
    ]);
    let mut first = None;
    eventually("there is a heartbeat", async || {
        first = plane.remote.heartbeat();
        first.is_some()
    })
    .await;
    let first = first.unwrap();
    assert!(
        first.engine_reachable && first.memory_used_bytes > 0,
        "{first:?}"
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(plane.remote.heartbeat().unwrap().engine_reachable);
    // The history of figures asks which containers run, once and for reasons of its own.
    let mut lines = relay.lines();
    lines.retain(|line| !line.contains("/containers/"));
    assert_eq!(lines, ["GET /_ping HTTP/1.1"]);
}

async fn next(health: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    let next = tokio::time::timeout(Duration::from_secs(60), health.next()).await;
    next.unwrap().unwrap().unwrap().status()
}

/// What needs the engine serves while it is there; nobody has to call anything to find out.
#[tokio::test(flavor = "multi_thread")]
async fn health_follows_the_engine() {
    let mut engine = tokio::task::spawn_blocking(PrivateEngine::start)
        .await
        .unwrap();
    let plane = Plane::start("web-9").await;
    let agent = Agent::start(&[
        ("CONTROL_PLANE_URL", &plane.url),
        ("DOCKER_HOST", engine.socket().to_str().unwrap()),
    ]);
    let mut health = HealthClient::new(agent.connect(None).await);
    let mut watched = Vec::new();
    for service in ["ContainerService", "LogService"] {
        let service = format!("turbopanel.agent.v1.{service}");
        let watch = health.watch(HealthCheckRequest { service }).await.unwrap();
        watched.push(watch.into_inner());
    }
    let reachable = || {
        plane
            .remote
            .heartbeat()
            .is_some_and(|beat| beat.engine_reachable)
    };
    eventually("the engine is reachable", async || reachable()).await;
    for health in &mut watched {
        assert_eq!(next(health).await, ServingStatus::Serving);
    }
    engine.kill();
    for health in &mut watched {
        assert_eq!(next(health).await, ServingStatus::NotServing);
    }
    eventually("the heartbeat tells", async || !reachable()).await;
    for service in ["", "turbopanel.agent.v1.AgentService"] {
        let service = service.to_owned();
        let answer = health.check(HealthCheckRequest { service }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    }
    engine = tokio::task::spawn_blocking(move || {
        engine.up();
        engine
    })
    .await
    .unwrap();
    for health in &mut watched {
        assert_eq!(next(health).await, ServingStatus::Serving);
    }
    eventually("the heartbeat tells", async || reachable()).await;
    drop(agent);
    tokio::task::spawn_blocking(move || drop(engine))
        .await
        .unwrap();
}
