//! The integrated agent: the same services in process, by gRPC and over frames; and deadlines of the
//! control plane's own services.

use std::time::Duration;

use tonic::Code;
use turbopanel_control_plane::{
    proto::agent::{
        GetStatusRequest, ListContainersRequest, agent_service_client::AgentServiceClient,
        container_service_client::ContainerServiceClient,
    },
    serve::{Plane, ServeConfig},
};

use crate::plane::{TestPlane, reason, within};

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_as_local() {
    let plane = TestPlane::start().await;
    let mut agent = AgentServiceClient::new(plane.client(Some(&plane.admin), Some("local")));
    let status = agent
        .get_status(GetStatusRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(format!("{status:?}").contains("\"local\""), "{status:?}");
    let capabilities = status.status.unwrap().capabilities;
    assert!(!capabilities.is_empty());
    assert_eq!(plane.agent("local").await.capabilities, capabilities);
    let status = plane
        .post(
            "/turbopanel.control.v1.FleetService/WatchAgents",
            &[("grpc-timeout", "200m")],
        )
        .await;
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::DeadlineExceeded, "DEADLINE_PASSED".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_engine_it_says_so_and_the_rest_goes_on() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut config = ServeConfig::new(dir.path());
    config.listen.set_port(0);
    config.docker_host = Some(format!("unix://{}/no.sock", dir.path().display()));
    config.grace = Duration::from_secs(1);
    let plane = TestPlane::start_as(config).await;
    let client = || plane.client(Some(&plane.admin), Some("local"));
    let mut containers = ContainerServiceClient::new(client());
    let error = within(
        20,
        containers.list_containers(ListContainersRequest::default()),
    )
    .await;
    assert_eq!(reason(&error.unwrap_err()), "ENGINE_UNREACHABLE");
    let mut agent = AgentServiceClient::new(client());
    agent.get_status(GetStatusRequest::default()).await.unwrap();
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_public_url_is_told_at_start() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut config = ServeConfig::new(dir.path());
    config.listen.set_port(0);
    config.public_url = Some("panel.example.com".to_owned());
    let error = Plane::bind(config).await.unwrap_err().to_string();
    assert!(
        error.contains("--public-url") && error.contains("https://"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_engine_address_is_told_at_start() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut config = ServeConfig::new(dir.path());
    config.listen.set_port(0);
    config.docker_host = Some("ssh://elsewhere".to_owned());
    let error = Plane::bind(config).await.unwrap_err().to_string();
    assert!(
        error.contains("DOCKER_HOST") && error.contains("unix://"),
        "{error}"
    );
}
