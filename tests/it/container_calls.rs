//! Changing, watching and looking at containers that are there.

use std::collections::HashMap;

use futures_util::StreamExt;
use tonic::{Code, Request, Status};
use turbopanel_agent::{
    proto::{
        self, ContainerState, ErrorReason, container_change::Kind, container_path::Path,
        container_service_server::ContainerService, stat_container_path_response::Type,
    },
    services::container::ContainerApi,
};

use crate::{
    docker_containers::assert_refused,
    docker_support::{TestContainer, docker, engine, eventually, unique},
};

fn api() -> ContainerApi {
    ContainerApi::new(engine())
}

const SLEEP: &[&str] = &["sleep", "1000"];

async fn state(name: &str) -> ContainerState {
    let request = proto::GetContainerRequest {
        container: name.to_owned(),
        ..proto::GetContainerRequest::default()
    };
    let seen = ContainerApi::new(engine())
        .get_container(Request::new(request))
        .await
        .unwrap();
    seen.into_inner()
        .container
        .unwrap()
        .container
        .unwrap()
        .state()
}

#[tokio::test]
async fn a_container_is_frozen_and_goes_on() {
    let api = api();
    let [running, created] = [
        TestContainer::run(&[], SLEEP),
        TestContainer::create(&[], SLEEP),
    ];
    let pause = async |name: &str| {
        let request = proto::PauseContainerRequest {
            container: name.to_owned(),
        };
        let paused = api.pause_container(Request::new(request)).await?;
        Ok::<_, Status>(paused.into_inner().already_paused)
    };
    let unpause = async |name: &str| {
        let request = proto::UnpauseContainerRequest {
            container: name.to_owned(),
        };
        let unpaused = api.unpause_container(Request::new(request)).await?;
        Ok::<_, Status>(unpaused.into_inner().already_running)
    };
    assert!(unpause(&running.name).await.unwrap());
    assert!(!pause(&running.name).await.unwrap());
    assert_eq!(state(&running.name).await, ContainerState::Paused);
    assert!(pause(&running.name).await.unwrap());
    assert!(!unpause(&running.name).await.unwrap());
    assert_eq!(state(&running.name).await, ContainerState::Running);
    for refused in [pause(&created.name).await, unpause(&created.name).await] {
        let refused = refused.unwrap_err();
        assert_refused(
            &refused,
            Code::FailedPrecondition,
            ErrorReason::ContainerStateConflict,
        );
    }
    let missing = unique("nosuch");
    for refused in [pause(&missing).await, unpause(&missing).await] {
        let refused = refused.unwrap_err();
        assert_refused(&refused, Code::NotFound, ErrorReason::ContainerNotFound);
    }
}

#[tokio::test]
async fn a_container_gets_another_name_and_other_limits() {
    let api = api();
    let mut container = TestContainer::run(&["--memory=64m"], SLEEP);
    let other = TestContainer::create(&[], SLEEP);
    let rename = async |from: &str, to: &str| {
        let request = proto::RenameContainerRequest {
            container: from.to_owned(),
            name: to.to_owned(),
        };
        api.rename_container(Request::new(request)).await.map(drop)
    };
    let taken = rename(&container.name, &other.name).await.unwrap_err();
    assert_refused(&taken, Code::AlreadyExists, ErrorReason::ContainerNameInUse);
    let new = unique("renamed");
    rename(&container.name, &new).await.unwrap();
    container.name.clone_from(&new);
    rename(&new, &new).await.unwrap();
    assert_eq!(state(&new).await, ContainerState::Running);

    let update = async |resources: proto::Resources, restart| {
        let request = proto::UpdateContainerRequest {
            container: new.clone(),
            resources: Some(resources),
            restart_policy: restart,
        };
        api.update_container(Request::new(request)).await.map(drop)
    };
    let restart = proto::RestartPolicy {
        mode: proto::restart_policy::Mode::OnFailure.into(),
        maximum_retry_count: 7,
    };
    let resources = proto::Resources {
        memory_limit_bytes: Some(96 << 20),
        memory_swap_bytes: Some(128 << 20),
        memory_reservation_bytes: Some(32 << 20),
        cpu_limit_milli: Some(250),
        cpu_shares: Some(512),
        cpuset_cpus: Some("0".into()),
        pids_limit: Some(77),
        ..proto::Resources::default()
    };
    update(resources, Some(restart)).await.unwrap();
    let format = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.MemoryReservation}} {{.HostConfig.NanoCpus}} {{.HostConfig.CpuShares}} {{.HostConfig.CpusetCpus}} {{.HostConfig.PidsLimit}} {{json .HostConfig.RestartPolicy}}";
    let seen = || docker(None, &["inspect", "-f", format, &new]);
    let expected = "100663296 134217728 33554432 250000000 512 0 77 {\"MaximumRetryCount\":7,\"Name\":\"on-failure\"}";
    assert_eq!(seen(), expected);
    // What is not set stays.
    update(proto::Resources::default(), None).await.unwrap();
    assert_eq!(seen(), expected);
    let lower = proto::Resources {
        memory_limit_bytes: Some(256 << 20),
        ..proto::Resources::default()
    };
    let refused = update(lower, None).await.unwrap_err();
    assert_refused(
        &refused,
        Code::FailedPrecondition,
        ErrorReason::ContainerStateConflict,
    );
    assert!(refused.message().contains("memoryswap"), "{refused:?}");
    for wrong in [
        proto::Resources {
            memory_limit_bytes: Some(0),
            ..proto::Resources::default()
        },
        proto::Resources {
            memory_limit_bytes: Some(u64::MAX),
            ..proto::Resources::default()
        },
        proto::Resources {
            memory_swap_bytes: Some(-2),
            ..proto::Resources::default()
        },
        proto::Resources {
            cpu_limit_milli: Some(1),
            cpu_quota_us: Some(1000),
            ..proto::Resources::default()
        },
        proto::Resources {
            cpuset_cpus: Some("all".into()),
            ..proto::Resources::default()
        },
        proto::Resources {
            memory_swappiness: Some(10),
            ..proto::Resources::default()
        },
        proto::Resources {
            blkio_weight: Some(5),
            ..proto::Resources::default()
        },
    ] {
        let refused = update(wrong, None).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
}

#[tokio::test]
async fn processes_changes_files_and_the_engines_own_words_are_seen() {
    let api = api();
    let script = "mkdir /d; printf x > /d/a; printf '%3000s' | tr ' ' y > /d/b; chmod 4751 /d/b; ln -s /d/a /l; rm -r /home; touch /d/$(printf '\\377'); exec sleep 1001";
    let container = TestContainer::run(
        &["-e", "SECRET=hidden-value", "--label", "l=v"],
        &["sh", "-c", script],
    );
    let name = container.name.as_str();
    eventually("it sleeps", async || {
        docker(None, &["top", name]).contains("sleep 1001")
    })
    .await;
    let top = async |columns: &[&str]| {
        let request = proto::TopContainerRequest {
            container: name.to_owned(),
            columns: columns.iter().map(ToString::to_string).collect(),
        };
        api.top_container(Request::new(request))
            .await
            .map(tonic::Response::into_inner)
    };
    let seen = top(&[]).await.unwrap();
    assert_eq!(seen.titles.last().map(String::as_str), Some("CMD"));
    assert_eq!(
        seen.processes[0].values.last().map(String::as_str),
        Some("sleep 1001")
    );
    let seen = top(&["pid", "comm", "args"]).await.unwrap();
    assert_eq!(seen.titles, ["PID", "COMMAND", "COMMAND"]);
    assert_eq!(seen.processes[0].values[1..], ["sleep", "sleep 1001"]);
    for wrong in ["", "pid --help", "pid;ls", "a,b"] {
        let refused = top(&["pid", wrong]).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    let refused = top(&["pid", "nosuchword"]).await.unwrap_err();
    assert_refused(&refused, Code::InvalidArgument, ErrorReason::EngineFailed);

    let request = proto::ListContainerChangesRequest {
        container: name.to_owned(),
    };
    let mut answers = api
        .list_container_changes(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    let mut changes = HashMap::new();
    while let Some(answer) = answers.next().await {
        for change in answer.unwrap().changes {
            changes.insert(change.path.clone(), change.kind());
        }
    }
    for (path, kind) in [
        ("/d/a", Kind::Added),
        ("/l", Kind::Added),
        ("/d/\u{fffd}", Kind::Added),
    ] {
        assert_eq!(changes.get(path), Some(&kind), "{changes:?}");
    }

    let stat = async |path: Path| {
        let request = proto::StatContainerPathRequest {
            container: name.to_owned(),
            path: Some(proto::ContainerPath { path: Some(path) }),
        };
        let seen = api.stat_container_path(Request::new(request)).await?;
        Ok::<_, Status>(seen.into_inner())
    };
    let text = |text: &str| Path::Text(text.to_owned());
    let file = stat(text("/d/b")).await.unwrap();
    assert_eq!(
        (file.name.as_str(), file.size_bytes, file.mode),
        ("b", 3000, 0o4751)
    );
    assert!(file.r#type() == Type::File && file.modified_at.unwrap().seconds > 1_700_000_000);
    let link = stat(text("/l")).await.unwrap();
    assert_eq!(
        (link.r#type(), link.link_target.as_str()),
        (Type::Link, "/d/a")
    );
    assert_eq!(stat(text("/d")).await.unwrap().r#type(), Type::Directory);
    let raw = stat(Path::Raw(b"/d/\xff"[..].into())).await.unwrap();
    assert_eq!(raw.r#type(), Type::File);
    let missing = stat(text("/d/nosuch?x=/#")).await.unwrap_err();
    assert_refused(&missing, Code::NotFound, ErrorReason::PathNotFound);
    for wrong in ["", "d", "/d\0", "../d"] {
        let refused = stat(text(wrong)).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }

    let json = async |values: bool, json: bool| {
        let request = proto::GetContainerRequest {
            container: name.to_owned(),
            include_environment_values: values,
            include_engine_json: json,
        };
        let seen = api.get_container(Request::new(request)).await.unwrap();
        String::from_utf8(seen.into_inner().engine_json.to_vec()).unwrap()
    };
    assert_eq!(json(true, false).await, "");
    let hidden = json(false, true).await;
    assert!(
        hidden.contains("\"SECRET=\"") && hidden.contains("\"l\":\"v\""),
        "{hidden}"
    );
    assert!(!hidden.contains("hidden-value"));
    assert!(json(true, true).await.contains("\"SECRET=hidden-value\""));
}

#[tokio::test]
async fn what_does_not_run_goes_and_nothing_else() {
    let api = api();
    let label = unique("prune");
    let options = ["--label", label.as_str()];
    let [running, created] = [
        TestContainer::run(&options, SLEEP),
        TestContainer::create(&options, SLEEP),
    ];
    let id = docker(None, &["inspect", "-f", "{{.Id}}", &created.name]);
    let prune = async || {
        let request = proto::PruneContainersRequest {
            filter: Some(proto::PruneFilter {
                labels: HashMap::from([(label.clone(), String::new())]),
                ..proto::PruneFilter::default()
            }),
        };
        api.prune_containers(Request::new(request))
            .await
            .unwrap()
            .into_inner()
    };
    let pruned = prune().await;
    assert_eq!((pruned.containers, pruned.removed_count), (vec![id], 1));
    assert_eq!(prune().await.removed_count, 0);
    assert_eq!(state(&running.name).await, ContainerState::Running);
}
