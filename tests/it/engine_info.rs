//! What `EngineService` tells of a real engine, and what it cleans up.

use std::collections::HashMap;

use futures_util::StreamExt;
use tonic::{Code, Request, Status};
use turbopanel_agent::{
    engines::docker::{Engine, EngineAddress},
    proto::{self, ErrorReason, PruneKind, engine_service_server::EngineService},
    services::engine::EngineApi,
};

use crate::{
    docker_away::{assert_unreachable, short},
    docker_containers::assert_refused,
    docker_relay::{ENGINE, Relay, Treatment},
    docker_support::{TestContainer, docker, engine, eventually, unique},
    network_life::TestNetwork,
    volume_life::TestVolume,
};

fn api() -> EngineApi {
    EngineApi::new(engine())
}

#[tokio::test]
async fn the_engine_tells_of_itself() {
    let api = api();
    let info = api
        .get_info(Request::new(Default::default()))
        .await
        .unwrap();
    let info = info.into_inner().info.unwrap();
    let told = |format: &str| docker(None, &["info", "--format", format]);
    assert_eq!(info.version, told("{{.ServerVersion}}"));
    assert_eq!(info.id, told("{{.ID}}"));
    assert_eq!(info.memory_bytes.to_string(), told("{{.MemTotal}}"));
    assert_eq!(info.cpus.to_string(), told("{{.NCPU}}"));
    assert_eq!(info.storage_driver, told("{{.Driver}}"));
    assert_eq!(info.root_dir, told("{{.DockerRootDir}}"));
    assert_eq!(info.swarm_state, "inactive");
    assert!(info.network_drivers.contains(&"bridge".to_owned()));
    assert!(info.runtimes.contains(&info.default_runtime));
    assert!(matches!(info.cgroup_version.as_str(), "1" | "2"));
    assert!(info.time.unwrap().seconds > 1_700_000_000);

    let version = api
        .get_version(Request::new(Default::default()))
        .await
        .unwrap();
    let version = version.into_inner();
    assert_eq!(version.version, info.version);
    assert_eq!(
        (
            version.api_version.as_str(),
            version.spoken_api_version.as_str()
        ),
        ("1.41", "1.41")
    );
    assert!(
        version
            .components
            .iter()
            .any(|part| part.name == "containerd")
    );
}

#[tokio::test]
async fn what_takes_room_is_told() {
    let volume = TestVolume(unique("df"));
    let mount = format!("{}:/data", volume.0);
    let container = TestContainer::run(
        &["-v", &mount],
        &[
            "sh",
            "-c",
            "dd if=/dev/zero of=/data/x bs=1k count=500; dd if=/dev/zero of=/y bs=1k count=300",
        ],
    );
    docker(None, &["wait", &container.name]);
    let api = api();
    let usage = api
        .get_disk_usage(Request::new(Default::default()))
        .await
        .unwrap();
    let usage = usage.into_inner();
    let own = usage.volume_usage.iter().find(|own| own.volume == volume.0);
    let own = own.unwrap();
    assert!(
        own.size_bytes >= 500 << 10 && own.size_bytes < 1 << 20,
        "{own:?}"
    );
    assert_eq!(own.containers, 1);
    let (images, containers) = (usage.images.unwrap(), usage.containers.unwrap());
    assert!(images.total >= 1 && images.active >= 1 && images.size_bytes > 1 << 20);
    assert!(containers.total >= 1 && containers.reclaimable_bytes >= 300 << 10);
    assert!(usage.volumes.unwrap().size_bytes >= own.size_bytes);
}

async fn prune(
    api: &EngineApi,
    request: proto::PruneRequest,
) -> Result<Vec<proto::PruneResponse>, Status> {
    let mut answers = api.prune(Request::new(request)).await?.into_inner();
    let mut told = Vec::new();
    while let Some(answer) = answers.next().await {
        told.push(answer?);
    }
    Ok(told)
}

fn labelled(label: &str) -> Option<proto::PruneFilter> {
    Some(proto::PruneFilter {
        labels: HashMap::from([(label.to_owned(), String::new())]),
        ..proto::PruneFilter::default()
    })
}

#[tokio::test]
async fn what_is_not_used_goes_kind_by_kind() {
    let label = unique("prune");
    let (network, volume) = (
        TestNetwork(format!("{label}-n")),
        TestVolume(format!("{label}-v")),
    );
    docker(
        None,
        &[
            "network",
            "create",
            "--internal",
            "--label",
            &label,
            &network.0,
        ],
    );
    docker(None, &["volume", "create", "--label", &label, &volume.0]);
    // What holds the others goes first.
    let mount = format!("{}:/data", volume.0);
    let container = TestContainer::create(&["--label", &label, "-v", &mount], &["true"]);
    let id = docker(None, &["inspect", "-f", "{{.Id}}", &container.name]);
    let api = api();
    let told = prune(
        &api,
        proto::PruneRequest {
            kinds: [
                PruneKind::Volumes,
                PruneKind::Images,
                PruneKind::Networks,
                PruneKind::Containers,
            ]
            .map(i32::from)
            .to_vec(),
            filter: labelled(&label),
            named_volumes: true,
            named_images: true,
            ..proto::PruneRequest::default()
        },
    );
    let told = told.await.unwrap();
    let told: Vec<_> = told
        .iter()
        .map(|told| (told.kind(), told.removed.clone(), told.removed_count))
        .collect();
    assert_eq!(
        told,
        [
            (PruneKind::Containers, vec![id], 1),
            (PruneKind::Networks, vec![network.0.clone()], 1),
            (PruneKind::Images, vec![], 0),
            (PruneKind::Volumes, vec![volume.0.clone()], 1),
        ]
    );

    let kinds = |kinds: &[PruneKind], filter| proto::PruneRequest {
        kinds: kinds.iter().map(|kind| i32::from(*kind)).collect(),
        filter,
        ..proto::PruneRequest::default()
    };
    let aged = Some(proto::PruneFilter {
        created_before: Some(prost_types::Timestamp::default()),
        ..proto::PruneFilter::default()
    });
    for wrong in [
        kinds(&[], None),
        kinds(&[PruneKind::Unspecified], None),
        kinds(&[PruneKind::Volumes], aged),
        kinds(&[PruneKind::BuildCache], labelled(&label)),
    ] {
        let refused = prune(&api, wrong).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
}

/// What takes long has no time-out of its own; an engine that hangs meanwhile is found out, and seen in the status.
#[tokio::test]
async fn a_slow_engine_is_waited_for_and_a_hung_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let mut deadlines = short();
    let late = deadlines.call * 3;
    let relay = Relay::with(&path, ENGINE, move |line| {
        if line.contains("/networks/prune") {
            Treatment::Late(late)
        } else {
            Treatment::Pass
        }
    });
    deadlines.probe = deadlines.watch;
    let engine = Engine::with_deadlines(EngineAddress::Unix(path), deadlines);
    let api = EngineApi::new(engine.clone());
    let request = || proto::PruneRequest {
        kinds: vec![PruneKind::Networks.into()],
        filter: labelled(&unique("nothing")),
        ..proto::PruneRequest::default()
    };
    let told = prune(&api, request()).await.unwrap();
    assert_eq!(told[0].removed_count, 0);

    let hung = async {
        eventually("it is asked", async || {
            relay
                .lines()
                .iter()
                .filter(|line| line.contains("prune"))
                .count()
                == 2
        })
        .await;
        relay.hang(true);
    };
    let (told, ()) = tokio::join!(prune(&api, request()), hung);
    assert_unreachable(&told.unwrap_err());
    assert!(!engine.status().await.reachable);
}
