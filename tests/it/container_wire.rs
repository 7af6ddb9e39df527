//! What is asked of the engine about containers, to the letter, and what is never asked.

use tonic::{Code, Request, Status};
use turbopanel_agent::{
    engines::docker::{Engine, EngineAddress},
    proto::{self, ErrorReason, container_path::Path, container_service_server::ContainerService},
    services::container::ContainerApi,
};

use crate::{
    docker_containers::assert_refused,
    docker_names::HOSTILE,
    docker_relay::{ENGINE, Relay},
    docker_support::{TestContainer, unique},
};

fn path(path: &[u8]) -> Option<proto::ContainerPath> {
    let path = Some(Path::Raw(path.to_owned().into()));
    Some(proto::ContainerPath { path })
}

/// Every call that names a container.
async fn all(api: &ContainerApi, name: &str) -> Vec<Result<(), Status>> {
    let container = || name.to_owned();
    let pause = proto::PauseContainerRequest {
        container: container(),
    };
    let unpause = proto::UnpauseContainerRequest {
        container: container(),
    };
    let rename = proto::RenameContainerRequest {
        container: container(),
        name: "tpd-new".into(),
    };
    let update = proto::UpdateContainerRequest {
        container: container(),
        ..proto::UpdateContainerRequest::default()
    };
    let wait = proto::WaitContainerRequest {
        container: container(),
        condition: 0,
    };
    let top = proto::TopContainerRequest {
        container: container(),
        columns: vec!["pid".into(), "%cpu".into()],
    };
    let changes = proto::ListContainerChangesRequest {
        container: container(),
    };
    let stat = proto::StatContainerPathRequest {
        container: container(),
        path: path(b"/a b/../\xff?x=1&path=/etc#"),
    };
    vec![
        api.pause_container(Request::new(pause)).await.map(drop),
        api.unpause_container(Request::new(unpause)).await.map(drop),
        api.rename_container(Request::new(rename)).await.map(drop),
        api.update_container(Request::new(update)).await.map(drop),
        api.wait_container(Request::new(wait)).await.map(drop),
        api.top_container(Request::new(top)).await.map(drop),
        api.list_container_changes(Request::new(changes))
            .await
            .map(drop),
        api.stat_container_path(Request::new(stat)).await.map(drop),
    ]
}

#[tokio::test]
async fn requests_on_the_wire_are_exactly_the_expected_ones() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("relay.sock");
    let relay = Relay::start(&socket, ENGINE);
    let api = ContainerApi::new(Engine::new(EngineAddress::Unix(socket)));
    let long = "a".repeat(256);
    for name in HOSTILE.iter().copied().chain([long.as_str()]) {
        for refused in all(&api, name).await {
            let refused = refused.unwrap_err();
            assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
        }
        let rename = proto::RenameContainerRequest {
            container: "tpd-any".into(),
            name: name.to_owned(),
        };
        let refused = api
            .rename_container(Request::new(rename))
            .await
            .unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    assert!(relay.lines().is_empty(), "{:?}", relay.lines());

    let missing = unique("nosuch");
    for outcome in all(&api, &missing).await {
        let refused = outcome.unwrap_err();
        assert_refused(&refused, Code::NotFound, ErrorReason::ContainerNotFound);
    }
    let escaped = "%2Fa%20b%2F%2E%2E%2F%FF%3Fx%3D1%26path%3D%2Fetc%23";
    let expected = [
        ("POST", "/pause"),
        // What it did instead is looked at.
        ("POST", "/unpause"),
        ("GET", "/json"),
        ("POST", "/update"),
        ("GET", "/json"),
        ("GET", "/top?ps_args=%2Deo%20pid%2C%25cpu"),
        ("GET", "/changes"),
        ("HEAD", &format!("/archive?path={escaped}")),
        ("GET", "/json"),
    ];
    let expected = expected
        .map(|(method, rest)| format!("{method} /v1.41/containers/{missing}{rest} HTTP/1.1"));
    assert_eq!(relay.lines()[1..], expected);

    // Those that look first.
    let container = TestContainer::create(&[], &["true"]);
    let name = container.name.as_str();
    let seen = relay.lines().len();
    let wait = proto::WaitContainerRequest {
        container: name.to_owned(),
        condition: proto::WaitCondition::NotRunning.into(),
    };
    api.wait_container(Request::new(wait)).await.unwrap();
    let rename = proto::RenameContainerRequest {
        container: name.to_owned(),
        name: format!("{name}-2"),
    };
    api.rename_container(Request::new(rename)).await.unwrap();
    let _renamed = TestContainer {
        name: format!("{name}-2"),
    };
    let lines = relay.lines().split_off(seen);
    let look = format!("GET /v1.41/containers/{name}/json HTTP/1.1");
    assert_eq!([&lines[0], &lines[2]], [&look, &look]);
    let id = lines[1].strip_prefix("POST /v1.41/containers/").unwrap();
    let id = id
        .strip_suffix("/wait?condition=not-running HTTP/1.1")
        .unwrap();
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let rename = format!("POST /v1.41/containers/{name}/rename?name={name}-2 HTTP/1.1");
    assert_eq!(lines[3..], [rename]);
}
