//! Names that are meant to reach another part of the engine's API reach nothing at all.

use tonic::{Code, Request};
use turbopanel_agent::{
    engines::docker::{Engine, EngineAddress},
    proto::{
        CreateContainerRequest, ErrorReason, GetContainerRequest, KillContainerRequest,
        RemoveContainerRequest, RestartContainerRequest, StartContainerRequest,
        StopContainerRequest, StreamLogsRequest, container_service_server::ContainerService,
    },
    services::{container::ContainerApi, log::LogApi},
};

use crate::{
    docker_containers::assert_refused,
    docker_logs::open,
    docker_relay::{ENGINE, Relay},
    docker_support::IMAGE,
};

pub const HOSTILE: &[&str] = &[
    "",
    ".",
    "..",
    "../volumes/x",
    "../plugins/evil/enable?timeout=1",
    "a?b#c",
    "a/b",
    "a b",
    "a\r\nHost: x",
    "a\0",
    "%2e%2e",
    "-a",
    "é",
];

#[tokio::test]
async fn hostile_names_never_reach_the_engine() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let relay = Relay::start(&path, ENGINE);
    let engine = Engine::new(EngineAddress::Unix(path));
    let (api, logs) = (ContainerApi::new(engine.clone()), LogApi::new(engine));
    let long = "a".repeat(300);
    for name in HOSTILE.iter().copied().chain([long.as_str()]) {
        let container = || name.to_owned();
        let get = GetContainerRequest {
            container: container(),
            ..Default::default()
        };
        let start = StartContainerRequest {
            container: container(),
        };
        let stop = StopContainerRequest {
            container: container(),
            grace: None,
        };
        let restart = RestartContainerRequest {
            container: container(),
            grace: None,
        };
        let kill = KillContainerRequest {
            container: container(),
            signal: String::new(),
        };
        let remove = RemoveContainerRequest {
            container: container(),
            force: true,
            remove_volumes: true,
        };
        let log = StreamLogsRequest {
            container: container(),
            ..Default::default()
        };
        let outcomes = [
            api.get_container(Request::new(get)).await.map(drop),
            api.start_container(Request::new(start)).await.map(drop),
            api.stop_container(Request::new(stop)).await.map(drop),
            api.restart_container(Request::new(restart)).await.map(drop),
            api.kill_container(Request::new(kill)).await.map(drop),
            api.remove_container(Request::new(remove)).await.map(drop),
            open(&logs, log).await.map(drop),
        ];
        for outcome in outcomes {
            let refused = outcome.unwrap_err();
            assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
        }
        // Empty is the engine's choice, or no network.
        let good = || CreateContainerRequest {
            image: IMAGE.to_owned(),
            ..Default::default()
        };
        let with_name = CreateContainerRequest {
            name: container(),
            ..good()
        };
        let with_network = CreateContainerRequest {
            network: container(),
            ..good()
        };
        let with_image = CreateContainerRequest {
            // Images may hold slashes.
            image: if name == "a/b" {
                "a//b".to_owned()
            } else {
                format!("{name}A")
            },
            ..good()
        };
        let requests = [with_name, with_network]
            .into_iter()
            .filter(|_| !name.is_empty());
        for request in requests.chain([with_image]) {
            let refused = api
                .create_container(Request::new(request))
                .await
                .unwrap_err();
            assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
        }
    }
    for signal in ["9&x=1", "KILL HTTP/1.1", "../x", "0", "65", "-1"] {
        let kill = KillContainerRequest {
            container: "tpd-any".to_owned(),
            signal: signal.to_owned(),
        };
        let refused = api.kill_container(Request::new(kill)).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    assert!(relay.lines().is_empty(), "{:?}", relay.lines());
}
