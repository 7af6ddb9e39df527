//! `VolumeService` against a real engine.

use std::collections::HashMap;

use tonic::{Code, Request, Status};
use turbopanel_agent::{
    engines::docker::{Engine, EngineAddress},
    proto::{self, ErrorReason, volume_service_server::VolumeService},
    services::volume::VolumeApi,
};

use crate::{
    docker_containers::assert_refused,
    docker_names::HOSTILE,
    docker_relay::{ENGINE, Relay},
    docker_support::{TestContainer, docker, engine, unique},
};

fn api() -> VolumeApi {
    VolumeApi::new(engine())
}

/// A volume that is removed at the end.
pub struct TestVolume(pub String);

impl Drop for TestVolume {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker")
            .args(["volume", "rm", "-f", &self.0])
            .output();
    }
}

fn new(name: &str) -> proto::CreateVolumeRequest {
    proto::CreateVolumeRequest {
        name: name.to_owned(),
        labels: HashMap::from([(name.to_owned(), "own".to_owned())]),
        ..proto::CreateVolumeRequest::default()
    }
}

async fn get(name: &str, values: bool) -> Result<proto::Volume, Status> {
    let api = api();
    let request = proto::GetVolumeRequest {
        volume: name.to_owned(),
        include_option_values: values,
    };
    let answer = api.get_volume(Request::new(request)).await?;
    Ok(answer.into_inner().volume.unwrap())
}

async fn remove(name: &str) -> Result<(), Status> {
    let api = api();
    let request = proto::RemoveVolumeRequest {
        volume: name.to_owned(),
        force: false,
    };
    api.remove_volume(Request::new(request)).await.map(drop)
}

async fn list(label: &str, unused: bool) -> Vec<proto::Volume> {
    let api = api();
    let request = proto::ListVolumesRequest {
        labels: HashMap::from([(label.to_owned(), String::new())]),
        driver: "local".into(),
        unused,
        ..proto::ListVolumesRequest::default()
    };
    let listed = api.list_volumes(Request::new(request)).await.unwrap();
    listed.into_inner().volumes
}

#[tokio::test]
async fn a_volume_lives_from_create_to_remove() {
    let api = api();
    let volume = TestVolume(unique("vol"));
    let name = volume.0.as_str();
    let request = proto::CreateVolumeRequest {
        options: HashMap::from([
            ("type".into(), "tmpfs".into()),
            ("device".into(), "tmpfs".into()),
            ("o".into(), "size=1m,password=x".into()),
        ]),
        ..new(name)
    };
    let created = api.create_volume(Request::new(request)).await.unwrap();
    let created = created.into_inner().volume.unwrap();
    assert_eq!(
        (created.name.as_str(), created.driver.as_str()),
        (name, "local")
    );
    // It may hold a password.
    assert_eq!(created.options["o"], "");
    let seen = get(name, true).await.unwrap();
    assert_eq!(seen.options["o"], "size=1m,password=x");
    assert_eq!(get(name, false).await.unwrap().options["o"], "");
    assert_eq!(seen.labels[name], "own");
    assert_eq!(seen.scope, "local");
    assert!(seen.mountpoint.ends_with(&format!("{name}/_data")));
    assert!(seen.created_at.unwrap().seconds > 1_700_000_000);

    let other = proto::CreateVolumeRequest {
        driver: "nosuchdriver".into(),
        ..new(name)
    };
    let other = api.create_volume(Request::new(other)).await.unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument, "{other:?}");
    let wrong = proto::CreateVolumeRequest {
        options: HashMap::from([("nosuch".into(), "x".into())]),
        ..new(&unique("never"))
    };
    let wrong = api.create_volume(Request::new(wrong)).await.unwrap_err();
    assert_refused(&wrong, Code::InvalidArgument, ErrorReason::EngineFailed);

    assert_eq!(list(name, true).await.len(), 1);
    let container = TestContainer::create(&["-v", &format!("{name}:/data")], &["true"]);
    assert_eq!(list(name, true).await.len(), 0);
    assert_eq!(list(name, false).await.len(), 1);
    let in_use = remove(name).await.unwrap_err();
    assert_refused(
        &in_use,
        Code::FailedPrecondition,
        ErrorReason::ResourceInUse,
    );
    drop(container);
    remove(name).await.unwrap();
    for gone in [get(name, false).await.map(drop), remove(name).await] {
        assert_refused(
            &gone.unwrap_err(),
            Code::NotFound,
            ErrorReason::VolumeNotFound,
        );
    }

    // The engine chooses a name.
    let request = proto::CreateVolumeRequest::default();
    let chosen = api.create_volume(Request::new(request)).await.unwrap();
    let chosen = TestVolume(chosen.into_inner().volume.unwrap().name);
    assert_eq!(chosen.0.len(), 64);
}

#[tokio::test]
async fn what_is_not_used_goes_and_nothing_else() {
    let api = api();
    let volumes = [0; 2].map(|_| TestVolume(unique("prune")));
    for volume in &volumes {
        let created = api.create_volume(Request::new(new(&volume.0)));
        created.await.unwrap();
    }
    let [used, unused] = volumes.each_ref().map(|volume| volume.0.as_str());
    let container = TestContainer::run(
        &["-v", &format!("{unused}:/data")],
        &["dd", "if=/dev/zero", "of=/data/x", "bs=1k", "count=300"],
    );
    docker(None, &["wait", &container.name]);
    drop(container);
    let _container = TestContainer::create(&["-v", &format!("{used}:/data")], &["true"]);
    let prune = async |label: &str, named: bool| {
        let request = proto::PruneVolumesRequest {
            filter: Some(proto::PruneFilter {
                labels: HashMap::from([(label.to_owned(), "own".to_owned())]),
                ..proto::PruneFilter::default()
            }),
            named,
        };
        let pruned = api.prune_volumes(Request::new(request)).await;
        pruned.map(tonic::Response::into_inner)
    };
    // This engine would remove more than was asked for.
    let too_old = prune(unused, false).await.unwrap_err();
    assert_refused(&too_old, Code::Unimplemented, ErrorReason::EngineTooOld);
    assert_eq!(list(unused, true).await.len(), 1);
    assert_eq!(prune(used, true).await.unwrap().volumes, [""; 0]);
    let pruned = prune(unused, true).await.unwrap();
    assert_eq!(pruned.volumes, [unused]);
    assert!(pruned.reclaimed_bytes >= 300 << 10, "{pruned:?}");
    let aged = proto::PruneVolumesRequest {
        filter: Some(proto::PruneFilter {
            created_before: Some(prost_types::Timestamp::default()),
            ..proto::PruneFilter::default()
        }),
        named: true,
    };
    let refused = api.prune_volumes(Request::new(aged)).await.unwrap_err();
    assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
}

/// One label may be as long as it likes: lists go on, page by page, and what no message holds is left out.
#[tokio::test]
async fn a_label_of_a_megabyte_hides_no_volume() {
    let api = api();
    let label = unique("long");
    let mut volumes = Vec::new();
    for (n, length) in [1 << 20, 1 << 20, 1 << 20, 1 << 20, 3 << 20, 0]
        .iter()
        .enumerate()
    {
        let volume = TestVolume(format!("{label}-{n}"));
        let created = api.create_volume(Request::new(proto::CreateVolumeRequest {
            labels: HashMap::from([
                (label.clone(), String::new()),
                ("long".to_owned(), "x".repeat(*length)),
            ]),
            ..new(&volume.0)
        }));
        created.await.unwrap();
        volumes.push(volume);
    }
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let request = proto::ListVolumesRequest {
            labels: HashMap::from([(label.clone(), String::new())]),
            page_token: token,
            ..proto::ListVolumesRequest::default()
        };
        let page = api.list_volumes(Request::new(request)).await.unwrap();
        let page = page.into_inner();
        assert!(prost::Message::encoded_len(&page) < 3 << 20);
        seen.extend(page.volumes);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), volumes.len());
    let long: Vec<_> = seen
        .iter()
        .map(|volume| volume.labels.get("long").map(String::len))
        .collect();
    let whole = Some(1 << 20);
    assert_eq!(long, [whole, whole, whole, whole, None, Some(0)]);
    assert!(seen[4].labels_left_out && !seen[5].labels_left_out);
}

/// What is named by a caller is in the path as it is, or nothing is asked at all.
#[tokio::test]
async fn requests_on_the_wire_are_exactly_the_expected_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let relay = Relay::start(&path, ENGINE);
    let api = VolumeApi::new(Engine::new(EngineAddress::Unix(path)));
    let all = async |name: &str| {
        let get = proto::GetVolumeRequest {
            volume: name.to_owned(),
            include_option_values: false,
        };
        let remove = proto::RemoveVolumeRequest {
            volume: name.to_owned(),
            force: true,
        };
        [
            api.get_volume(Request::new(get)).await.map(drop),
            api.remove_volume(Request::new(remove)).await.map(drop),
        ]
    };
    let long = "a".repeat(256);
    for name in HOSTILE.iter().copied().chain([long.as_str()]) {
        for outcome in all(name).await {
            let refused = outcome.unwrap_err();
            assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
        }
        if !name.is_empty() {
            let created = api.create_volume(Request::new(new(name))).await;
            let refused = created.unwrap_err();
            assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
        }
    }
    let short = api.create_volume(Request::new(new("a"))).await.unwrap_err();
    assert_refused(&short, Code::InvalidArgument, ErrorReason::InvalidField);
    assert!(relay.lines().is_empty(), "{:?}", relay.lines());

    let missing = unique("nosuch");
    let [got, _removed] = all(&missing).await;
    assert_refused(
        &got.unwrap_err(),
        Code::NotFound,
        ErrorReason::VolumeNotFound,
    );
    let expected = [
        "GET /_ping HTTP/1.1".to_owned(),
        format!("GET /v1.41/volumes/{missing} HTTP/1.1"),
        format!("DELETE /v1.41/volumes/{missing}?force=true HTTP/1.1"),
    ];
    assert_eq!(relay.lines(), expected);
}
