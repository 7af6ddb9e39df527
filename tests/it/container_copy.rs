//! Files in and out of containers, through a tunnel: whole, bounded, and nothing that was not asked for.

use std::{
    io::Read,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::{StreamExt, stream};
use tar::{Archive, Builder, EntryType, Header};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use turbopanel_agent::{
    engines::docker::EngineAddress,
    proto::{
        self, ErrorReason, container_path::Path, container_service_client::ContainerServiceClient,
        copy_from_container_response, copy_to_container_request::Step,
        stat_container_path_response::Type,
    },
};
use turbopanel_tunnel::Channel;

use crate::{
    docker_containers::assert_refused,
    docker_names::HOSTILE,
    docker_relay::{ENGINE, Relay},
    docker_support::{TestContainer, docker, eventually, unique},
    tunnel_support::Tunnel,
};

type Client = ContainerServiceClient<Channel>;

async fn client() -> (Tunnel, Client) {
    let tunnel = Tunnel::to(EngineAddress::default()).await;
    let client = ContainerServiceClient::new(tunnel.channel.clone());
    (tunnel, client)
}

fn path(path: &[u8]) -> Option<proto::ContainerPath> {
    let path = Some(Path::Raw(path.to_owned().into()));
    Some(proto::ContainerPath { path })
}

fn step(step: Step) -> proto::CopyToContainerRequest {
    proto::CopyToContainerRequest { step: Some(step) }
}

fn start(container: &str, directory: &str) -> proto::CopyToContainerRequest {
    step(Step::Start(proto::CopyToContainerStart {
        container: container.to_owned(),
        path: path(directory.as_bytes()),
        ..proto::CopyToContainerStart::default()
    }))
}

/// Sends an archive in pieces of this size.
async fn send(
    client: &mut Client,
    start: proto::CopyToContainerRequest,
    tar: &[u8],
    piece: usize,
) -> Result<proto::CopyToContainerResponse, Status> {
    let pieces = tar
        .chunks(piece)
        .map(|piece| step(Step::Archive(piece.to_vec().into())));
    let steps: Vec<_> = std::iter::once(start).chain(pieces).collect();
    Ok(client
        .copy_to_container(stream::iter(steps))
        .await?
        .into_inner())
}

async fn fetch(
    client: &mut Client,
    container: &str,
    file: &[u8],
) -> Result<(proto::StatContainerPathResponse, Vec<u8>), Status> {
    let request = proto::CopyFromContainerRequest {
        container: container.to_owned(),
        path: path(file),
    };
    let mut answers = client.copy_from_container(request).await?.into_inner();
    let first = answers.message().await?.unwrap().step.unwrap();
    let copy_from_container_response::Step::Stat(stat) = first else {
        panic!("{first:?}")
    };
    let mut tar = Vec::new();
    while let Some(answer) = answers.message().await? {
        match answer.step.unwrap() {
            copy_from_container_response::Step::Archive(piece) => tar.extend_from_slice(&piece),
            other => panic!("{other:?}"),
        }
    }
    Ok((stat, tar))
}

fn append(tar: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, target: &str, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o750);
    header.set_uid(12);
    header.set_gid(34);
    header.set_mtime(1_700_000_000);
    header.set_size(content.len() as u64);
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn archive(entries: &[(EntryType, &str, &str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, name, target, content) in entries {
        append(&mut tar, *kind, name, target, content);
    }
    tar.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_in_comes_out() {
    let (_tunnel, mut client) = client().await;
    // One that does not run, too.
    let running = TestContainer::run(&[], &["sleep", "1000"]);
    let created = TestContainer::create(&[], &["true"]);
    let large: Vec<u8> = (0..5_000_000_u32)
        .flat_map(|n| (n as u8).to_le_bytes())
        .collect();
    let tar = archive(&[
        (EntryType::Directory, "d/", "", b""),
        (EntryType::Regular, "d/large", "", &large),
        (EntryType::Regular, "d/empty", "", b""),
        (EntryType::Symlink, "d/l", "../d/large", b""),
        (EntryType::Link, "d/h", "d/large", b""),
    ]);
    for (container, piece) in [(&running, 1_000_000), (&created, 7777)] {
        let sent = send(&mut client, start(&container.name, "/tmp"), &tar, piece)
            .await
            .unwrap();
        assert_eq!((sent.entries, sent.content_bytes), (5, 5_000_000));
        let (stat, out) = fetch(&mut client, &container.name, b"/tmp/d")
            .await
            .unwrap();
        assert_eq!((stat.name.as_str(), stat.r#type()), ("d", Type::Directory));
        let mut archive = Archive::new(out.as_slice());
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            // The first name of both is the file, the second one the link.
            if entry.size() > 0 {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                assert!(content == large);
                assert_eq!(entry.header().mode().unwrap() & 0o777, 0o750);
                assert_eq!(entry.header().mtime().unwrap(), 1_700_000_000);
                // Unless they are wanted, owners are root's.
                assert_eq!(entry.header().uid().unwrap(), 0);
            }
            names.push(name.trim_end_matches('/').to_owned());
        }
        names.sort();
        assert_eq!(names, ["d", "d/empty", "d/h", "d/l", "d/large"]);
    }
    let own = step(Step::Start(proto::CopyToContainerStart {
        container: running.name.clone(),
        path: path(b"/tmp"),
        keep_owners: true,
        keep_kinds: true,
    }));
    send(&mut client, own.clone(), &tar, 1 << 20).await.unwrap();
    let owners = docker(
        None,
        &["exec", &running.name, "stat", "-c", "%u:%g", "/tmp/d/empty"],
    );
    assert_eq!(owners, "12:34");
    let other_kind = archive(&[(EntryType::Regular, "d", "", b"x")]);
    let refused = send(&mut client, own, &other_kind, 512).await.unwrap_err();
    assert_refused(&refused, Code::InvalidArgument, ErrorReason::EngineFailed);
}

/// A name is bytes, in both directions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_not_utf_8_are_kept() {
    let (_tunnel, mut client) = client().await;
    let script = "mkdir /d; echo hello > \"/d/$(printf '\\377\\376')\"; exec sleep 1000";
    let container = TestContainer::run(&[], &["sh", "-c", script]);
    eventually("the file is there", async || {
        docker(
            None,
            &["exec", &container.name, "sh", "-c", "ls /d | wc -l"],
        ) == "1"
    })
    .await;
    // The engine gives an empty archive for it alone, which is told.
    let refused = fetch(&mut client, &container.name, b"/d/\xff\xfe")
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert!(refused.message().contains("UTF-8"), "{refused:?}");
    let names = |tar: &[u8]| -> Vec<Vec<u8>> {
        let mut archive = Archive::new(tar);
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| entry.unwrap().path_bytes().into_owned())
            .collect()
    };
    let (_, out) = fetch(&mut client, &container.name, b"/d").await.unwrap();
    assert_eq!(names(&out), [&b"d/"[..], b"d/\xff\xfe"]);
    // It goes back in under the name that it came out with.
    send(&mut client, start(&container.name, "/tmp"), &out, 100)
        .await
        .unwrap();
    let (_, again) = fetch(&mut client, &container.name, b"/tmp/d")
        .await
        .unwrap();
    assert_eq!(names(&again), names(&out));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_archives_are_refused_by_the_name_of_the_entry() {
    let (_tunnel, mut client) = client().await;
    let container = TestContainer::run(&[], &["sleep", "1000"]);
    let good = || (EntryType::Regular, "good", "", &b"x"[..]);
    for (kind, name, target, rule) in [
        (EntryType::Regular, "../evil", "", "parent"),
        (EntryType::Regular, "/evil", "", "absolute"),
        (EntryType::Symlink, "evil", "/etc", "link"),
        (EntryType::Symlink, "evil", "../../etc", "link"),
        (EntryType::Link, "evil", "/etc/passwd", "link"),
        (EntryType::Char, "evil", "", "device"),
        (EntryType::Fifo, "evil", "", "device"),
        (EntryType::Symlink, "evil", "a/../b", "link"),
        (EntryType::Regular, "l/evil", "", "behind"),
        (EntryType::Link, "evil", "l/x", "behind"),
    ] {
        // What stands before it does harm only together with it.
        let before = if rule == "behind" {
            (EntryType::Symlink, "l", "d", &b""[..])
        } else {
            good()
        };
        let tar = archive(&[before, (kind, name, target, b"")]);
        let refused = send(&mut client, start(&container.name, "/tmp"), &tar, 600)
            .await
            .unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::ArchiveRefused);
        let details = refused.get_error_details();
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!(
            (metadata["entry"].as_str(), metadata["rule"].as_str()),
            (name, rule)
        );
    }
    let whole = archive(&[good()]);
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
    for wrong in [
        gzip,
        whole[..1000].to_vec(),
        vec![b'x'; 2000],
        [&whole[..], b"more"].concat(),
    ] {
        let refused = send(&mut client, start(&container.name, "/tmp"), &wrong, 600)
            .await
            .unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::ArchiveRefused);
    }
    let left = docker(
        None,
        &["exec", &container.name, "find", "/", "-name", "evil"],
    );
    assert_eq!(left, "");

    let nowhere = start(&container.name, "/nosuch");
    let refused = send(&mut client, nowhere, &whole, 600).await.unwrap_err();
    assert_refused(&refused, Code::NotFound, ErrorReason::PathNotFound);
    let file = start(&container.name, "/etc/passwd");
    let refused = send(&mut client, file, &whole, 600).await.unwrap_err();
    assert_refused(&refused, Code::InvalidArgument, ErrorReason::EngineFailed);
    let missing = unique("nosuch");
    let refused = send(&mut client, start(&missing, "/tmp"), &whole, 600)
        .await
        .unwrap_err();
    assert_refused(&refused, Code::NotFound, ErrorReason::ContainerNotFound);
    let refused = fetch(&mut client, &missing, b"/tmp").await.unwrap_err();
    assert_refused(&refused, Code::NotFound, ErrorReason::ContainerNotFound);
    let refused = fetch(&mut client, &container.name, b"/nosuch")
        .await
        .unwrap_err();
    assert_refused(&refused, Code::NotFound, ErrorReason::PathNotFound);
    let read_only = TestContainer::create(&["--read-only"], &["true"]);
    let refused = send(&mut client, start(&read_only.name, "/tmp"), &whole, 600)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    let twice = vec![start(&container.name, "/tmp"); 2];
    for steps in [vec![], vec![step(Step::Archive(whole.into()))], twice] {
        let refused = client
            .copy_to_container(stream::iter(steps))
            .await
            .unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
}

/// What is asked for is in the path as it is, and who goes away leaves nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_end_the_engines_work() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("relay.sock");
    let relay = Relay::start(&socket, ENGINE);
    let tunnel = Tunnel::to(EngineAddress::Unix(socket)).await;
    let mut client = ContainerServiceClient::new(tunnel.channel.clone());
    for name in HOSTILE {
        let refused = fetch(&mut client, name, b"/tmp").await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
        let refused = send(&mut client, start(name, "/tmp"), b"", 1)
            .await
            .unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    let ping = |line: &String| line == "GET /_ping HTTP/1.1";
    assert!(relay.lines().iter().all(ping), "{:?}", relay.lines());

    // One stops reading, one stops sending; both leave.
    let script = "dd if=/dev/zero of=/large bs=1M count=64; exec sleep 1000";
    let container = TestContainer::run(&[], &["sh", "-c", script]);
    eventually("it is written", async || {
        docker(None, &["top", &container.name]).contains("sleep")
    })
    .await;
    let request = proto::CopyFromContainerRequest {
        container: container.name.clone(),
        path: path(b"/large"),
    };
    let mut out = client
        .copy_from_container(request)
        .await
        .unwrap()
        .into_inner();
    out.message().await.unwrap();
    let sent = AtomicUsize::new(0);
    let large = archive(&[(EntryType::Regular, "half", "", &vec![7; 4 << 20])]);
    let half = large[..2 << 20].to_vec();
    let steps = vec![
        start(&container.name, "/tmp"),
        step(Step::Archive(half.into())),
    ];
    let steps = stream::iter(steps).inspect(move |_| {
        sent.fetch_add(1, Ordering::SeqCst);
    });
    let mut sender = client.clone();
    let sending = tokio::spawn(async move {
        sender
            .copy_to_container(steps.chain(stream::pending()))
            .await
    });
    eventually("the engine unpacks", async || {
        relay.lines().iter().any(|line| line.starts_with("PUT"))
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(
        relay.open() >= 2 && relay.taken() < 16 << 20,
        "{} {}",
        relay.open(),
        relay.taken()
    );
    sending.abort();
    drop(out);
    // The agent keeps an idle one, to notice when the engine goes.
    eventually("every other connection is closed", async || {
        relay.open() <= 1
    })
    .await;
    let expected = format!(
        "/v1.41/containers/{}/archive?path=%2Ftmp&noOverwriteDirNonDir=0",
        container.name
    );
    assert!(
        relay.lines().contains(&format!("PUT {expected} HTTP/1.1")),
        "{:?}",
        relay.lines()
    );
}
