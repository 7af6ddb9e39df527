//! `ContainerService` against a real engine.

use std::collections::{HashMap, HashSet};

use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use turbopanel_agent::{
    engines::docker::{Engine, EngineAddress},
    proto::{self, ContainerState, ErrorReason, container_service_server::ContainerService},
    services::container::ContainerApi,
};

use crate::{
    docker_relay::{ENGINE, Relay},
    docker_support::{IMAGE, TestContainer, docker, engine, unique},
};

fn api() -> ContainerApi {
    ContainerApi::new(engine())
}

pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, "turbopanel.dev");
    info.reason.clone()
}

pub fn assert_refused(status: &Status, code: Code, expected: ErrorReason) {
    assert_eq!(status.code(), code, "{status:?}");
    assert_eq!(reason(status), expected.as_str_name(), "{status:?}");
}

async fn get(name: &str, values: bool) -> Result<proto::ContainerDetail, Status> {
    let request = proto::GetContainerRequest {
        container: name.to_owned(),
        include_environment_values: values,
        ..proto::GetContainerRequest::default()
    };
    let answer = api().get_container(Request::new(request)).await?;
    Ok(answer.into_inner().container.unwrap())
}

async fn start(name: &str) -> Result<bool, Status> {
    let request = proto::StartContainerRequest {
        container: name.to_owned(),
    };
    let answer = api().start_container(Request::new(request)).await?;
    Ok(answer.into_inner().already_running)
}

async fn stop(name: &str, grace: Option<prost_types::Duration>) -> Result<bool, Status> {
    let request = proto::StopContainerRequest {
        container: name.to_owned(),
        grace,
    };
    let answer = api().stop_container(Request::new(request)).await?;
    Ok(answer.into_inner().already_stopped)
}

async fn remove(name: &str, force: bool) -> Result<(), Status> {
    let request = proto::RemoveContainerRequest {
        container: name.to_owned(),
        force,
        remove_volumes: true,
    };
    api()
        .remove_container(Request::new(request))
        .await
        .map(drop)
}

#[tokio::test]
async fn a_container_lives_from_create_to_remove() {
    let name = unique("life");
    let request = proto::CreateContainerRequest {
        name: name.clone(),
        image: IMAGE.to_owned(),
        entrypoint: vec!["/bin/sh".into(), "-c".into()],
        command: vec!["trap 'exit 3' TERM; while :; do sleep 0.05; done".into()],
        environment: vec![proto::EnvironmentVariable {
            name: "SECRET".into(),
            value: "a=b".into(),
        }],
        labels: HashMap::from([("tpd".into(), "life".into())]),
        working_dir: "/tmp".into(),
        user: "12:34".into(),
        restart_policy: Some(proto::RestartPolicy {
            mode: proto::restart_policy::Mode::OnFailure.into(),
            maximum_retry_count: 2,
        }),
        network: "none".into(),
        memory_limit_bytes: 64 << 20,
        cpu_limit_milli: 500,
        ports: vec![proto::Port {
            container_port: 80,
            protocol: "udp".into(),
            ..proto::Port::default()
        }],
        ..proto::CreateContainerRequest::default()
    };
    let created = api()
        .create_container(Request::new(request.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(created.id.len(), 64);

    let taken = api()
        .create_container(Request::new(request))
        .await
        .unwrap_err();
    assert_refused(&taken, Code::AlreadyExists, ErrorReason::ContainerNameInUse);

    let detail = get(&name, false).await.unwrap();
    let container = detail.container.clone().unwrap();
    assert_eq!(
        (container.id.as_str(), container.name.as_str()),
        (created.id.as_str(), name.as_str())
    );
    assert_eq!(container.state(), ContainerState::Created);
    assert_eq!(container.image, IMAGE);
    assert!(container.image_id.starts_with("sha256:"));
    assert!(container.created_at.unwrap().seconds > 1_700_000_000);
    assert_eq!(container.labels["tpd"], "life");
    assert_eq!(container.ports[0].container_port, 80);
    assert_eq!(container.ports[0].protocol, "udp");
    assert_eq!(detail.started_at, None);
    assert_eq!(detail.finished_at, None);
    assert_eq!(
        (detail.user.as_str(), detail.working_dir.as_str()),
        ("12:34", "/tmp")
    );
    assert_eq!(detail.restart_policy.unwrap().maximum_retry_count, 2);
    assert_eq!(detail.networks, ["none"]);
    let secret = |detail: &proto::ContainerDetail| {
        let found = detail
            .environment
            .iter()
            .find(|variable| variable.name == "SECRET");
        found.unwrap().value.clone()
    };
    assert_eq!(secret(&detail), "");
    // By the beginning of its id too.
    assert_eq!(secret(&get(&created.id[..12], true).await.unwrap()), "a=b");
    let limits = docker(
        None,
        &[
            "inspect",
            "-f",
            "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}",
            &name,
        ],
    );
    assert_eq!(limits, "67108864 500000000");

    assert!(!start(&name).await.unwrap());
    assert!(start(&name).await.unwrap());
    let running = get(&name, false).await.unwrap();
    assert_eq!(running.container.unwrap().state(), ContainerState::Running);
    assert!(running.pid > 0);
    assert!(running.started_at.is_some());

    let conflict = remove(&name, false).await.unwrap_err();
    assert_refused(
        &conflict,
        Code::FailedPrecondition,
        ErrorReason::ContainerStateConflict,
    );

    let restart = proto::RestartContainerRequest {
        container: name.clone(),
        grace: None,
    };
    api()
        .restart_container(Request::new(restart))
        .await
        .unwrap();
    let again = get(&name, false).await.unwrap();
    assert!(again.started_at.unwrap().seconds >= running.started_at.unwrap().seconds);
    assert_ne!(again.pid, running.pid);

    assert!(!stop(&name, None).await.unwrap());
    assert!(stop(&name, None).await.unwrap());
    let ended = get(&name, false).await.unwrap();
    assert_eq!(ended.exit_code, 3);
    assert!(ended.finished_at.is_some());

    let kill = proto::KillContainerRequest {
        container: name.clone(),
        signal: "TERM".into(),
    };
    let conflict = api().kill_container(Request::new(kill)).await.unwrap_err();
    assert_refused(
        &conflict,
        Code::FailedPrecondition,
        ErrorReason::ContainerStateConflict,
    );

    remove(&name, false).await.unwrap();
    let gone = get(&name, false).await.unwrap_err();
    assert_refused(&gone, Code::NotFound, ErrorReason::ContainerNotFound);
    let gone = remove(&name, true).await.unwrap_err();
    assert_refused(&gone, Code::NotFound, ErrorReason::ContainerNotFound);
}

#[tokio::test]
async fn a_signal_reaches_the_first_process() {
    let container = TestContainer::run(
        &[],
        &[
            "sh",
            "-c",
            "trap 'exit 42' USR1; while :; do sleep 0.05; done",
        ],
    );
    let kill = |signal: &str| proto::KillContainerRequest {
        container: container.name.clone(),
        signal: signal.to_owned(),
    };
    let wrong = api()
        .kill_container(Request::new(kill("SIGNO")))
        .await
        .unwrap_err();
    assert_refused(&wrong, Code::InvalidArgument, ErrorReason::InvalidField);
    // The shell may not have set its trap yet: only USR1 must end it with 42.
    crate::docker_support::eventually("it has ended", async || {
        let _ = api().kill_container(Request::new(kill("WINCH"))).await;
        docker(None, &["top", &container.name, "-eo", "pid,args"]).contains("sleep 0.05")
    })
    .await;
    api()
        .kill_container(Request::new(kill("SIGUSR1")))
        .await
        .unwrap();
    assert_eq!(docker(None, &["wait", &container.name]), "42");
}

#[tokio::test]
async fn a_grace_of_zero_kills_at_once() {
    let stubborn = &["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let relay = Relay::start(&path, ENGINE);
    let api = ContainerApi::new(Engine::new(EngineAddress::Unix(path)));
    // What a part of a second becomes, and nothing at all.
    for (nanos, seconds) in [(0, 0), (1, 1)] {
        let container = TestContainer::run(&[], stubborn);
        let request = proto::StopContainerRequest {
            container: container.name.clone(),
            grace: Some(prost_types::Duration { seconds: 0, nanos }),
        };
        let stopped = api.stop_container(Request::new(request)).await.unwrap();
        assert!(!stopped.into_inner().already_stopped);
        let line = relay.lines().pop().unwrap();
        let query = format!("/containers/{}/stop?t={seconds} HTTP/1.1", container.name);
        assert!(line.ends_with(&query), "{line}");
        assert_eq!(get(&container.name, false).await.unwrap().exit_code, 137);
    }
    for (seconds, nanos) in [(-1, 0), (0, -1), (24 * 3600, 1)] {
        let wrong = Some(prost_types::Duration { seconds, nanos });
        let refused = stop("tpd-any", wrong).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
}

#[tokio::test]
async fn lists_come_in_pages_newest_first() {
    let label = unique("page");
    let made: Vec<TestContainer> = (0..5)
        .map(|n| TestContainer::create(&["--label", &format!("{label}={n}")], &["true"]))
        .collect();
    let list = |all: bool, size: u32, token: &str, value: &str| proto::ListContainersRequest {
        all,
        labels: HashMap::from([(label.clone(), value.to_owned())]),
        name_contains: String::new(),
        page_size: size,
        page_token: token.to_owned(),
    };
    let mut names = Vec::new();
    let mut token = String::new();
    let mut pages = 0;
    loop {
        let page = api()
            .list_containers(Request::new(list(true, 2, &token, "")))
            .await
            .unwrap()
            .into_inner();
        assert!(page.containers.len() <= 2);
        assert!(
            page.containers
                .iter()
                .all(|c| c.state() == ContainerState::Created && c.status == "Created")
        );
        names.extend(page.containers.into_iter().map(|container| container.name));
        pages += 1;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(names.len(), 5);
    let expected: HashSet<_> = made
        .iter()
        .map(|container| container.name.clone())
        .collect();
    assert_eq!(names.into_iter().collect::<HashSet<_>>(), expected);

    let one = api()
        .list_containers(Request::new(list(true, 0, "", "3")))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(one.containers.len(), 1);
    assert_eq!(one.containers[0].name, made[3].name);
    let none = api()
        .list_containers(Request::new(list(false, 0, "", "")))
        .await
        .unwrap()
        .into_inner();
    assert!(none.containers.is_empty());
    let mut named = list(true, 0, "", "");
    named.name_contains = made[1].name[4..].to_owned();
    let named = api()
        .list_containers(Request::new(named))
        .await
        .unwrap()
        .into_inner();
    assert!(
        named
            .containers
            .iter()
            .any(|container| container.name == made[1].name)
    );
    assert!(
        named
            .containers
            .iter()
            .all(|container| container.name.contains(&made[1].name[4..]))
    );

    for wrong in [
        list(true, 1001, "", ""),
        list(true, 0, "x", ""),
        list(true, 0, "1-../x", ""),
    ] {
        let refused = api()
            .list_containers(Request::new(wrong))
            .await
            .unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
}
