//! An engine with a small disk, which fills up: what it cannot do is told with what mends it, and with room made it goes
//! on. And one that dies in the middle of an answer.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    process::Command,
};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tempfile::TempDir;
use tonic::{Code, Status};
use turbopanel_agent::{
    engines::docker::EngineAddress,
    proto::{
        BuildImageOptions, BuildImageRequest, ContainerPath, CopyToContainerRequest,
        CopyToContainerStart, ErrorReason, LoadImageOptions, LoadImageRequest, SaveImageRequest,
        build_image_request::Step as BuildStep, container_path::Path,
        container_service_client::ContainerServiceClient,
        copy_to_container_request::Step as CopyStep, image_service_client::ImageServiceClient,
        load_image_request::Step as LoadStep,
    },
};
use turbopanel_tunnel::Channel;

use crate::{
    docker_containers::assert_refused,
    docker_support::{IMAGE, PrivateEngine, unique},
    image_forward::Forward,
    image_support::{Registry, Seen, follow, in_registry, pull_of},
    tunnel_support::Tunnel,
};

const MIB: u64 = 1 << 20;
/// What is pulled, built and copied here.
const CONTENT: u64 = 24 * MIB;

/// An engine that keeps everything on a disk of 128 MiB.
struct Small {
    /// Always there, but for the end.
    engine: Option<PrivateEngine>,
    disk: TempDir,
}

impl Small {
    fn start() -> Self {
        let disk = TempDir::new().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=128m", "tmpfs"])
            .arg(disk.path())
            .status();
        assert!(mounted.unwrap().success());
        let mut small = Self { engine: None, disk };
        let directory = TempDir::new().unwrap();
        symlink(small.disk.path(), directory.path().join("data")).unwrap();
        small.engine = Some(PrivateEngine::start_in(directory));
        small
    }

    fn engine(&mut self) -> &mut PrivateEngine {
        self.engine.as_mut().unwrap()
    }

    fn address(&mut self) -> EngineAddress {
        self.engine().address()
    }

    fn pid(&mut self) -> String {
        let file = self.engine().socket().with_file_name("pid");
        fs::read_to_string(file).unwrap().trim().to_owned()
    }

    /// Leaves so much room on its disk.
    fn leave(&self, room: u64) {
        self.clear();
        let stat = statvfs(self.disk.path()).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        assert!(free > room + CONTENT, "{free}");
        let filler = File::create(self.disk.path().join("filler")).unwrap();
        fallocate(filler, FallocateFlags::empty(), 0, free - room).unwrap();
    }

    fn clear(&self) {
        let _ = fs::remove_file(self.disk.path().join("filler"));
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.clear();
        drop(self.engine.take());
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.disk.path())
            .status();
    }
}

/// Bytes that nothing makes shorter.
fn noise() -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15 ^ u64::from(std::process::id());
    let mut content = Vec::new();
    while (content.len() as u64) < CONTENT {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content
}

fn context(content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in [
        ("Dockerfile", &b"FROM scratch\nCOPY content /\n"[..]),
        ("content", content),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// The first message, and the archive in pieces.
fn messages<T>(
    first: T,
    tar: &[u8],
    piece: impl Fn(Bytes) -> T,
) -> tokio_stream::Iter<std::vec::IntoIter<T>> {
    let pieces = tar.chunks(256 << 10).map(Bytes::copy_from_slice);
    let all: Vec<T> = std::iter::once(first).chain(pieces.map(piece)).collect();
    tokio_stream::iter(all)
}

async fn load(images: &mut ImageServiceClient<Channel>, tar: &[u8]) -> Seen {
    let step = |step| LoadImageRequest { step: Some(step) };
    let options = step(LoadStep::Options(LoadImageOptions::default()));
    let messages = messages(options, tar, |piece| step(LoadStep::Content(piece)));
    let begun = images.load_image(messages).await;
    follow(begun.unwrap().into_inner()).await
}

async fn build(images: &mut ImageServiceClient<Channel>, tar: &[u8]) -> Seen {
    let step = |step| BuildImageRequest { step: Some(step) };
    let options = step(BuildStep::Options(BuildImageOptions::default()));
    let messages = messages(options, tar, |piece| step(BuildStep::Content(piece)));
    let begun = images.build_image(messages).await;
    follow(begun.unwrap().into_inner()).await
}

async fn save(images: &mut ImageServiceClient<Channel>, image: &str) -> Result<Vec<u8>, Status> {
    let request = SaveImageRequest {
        images: vec![image.to_owned()],
    };
    let mut pieces = images.save_image(request).await?.into_inner();
    let mut tar = Vec::new();
    while let Some(piece) = pieces.message().await? {
        tar.extend_from_slice(&piece.content);
    }
    Ok(tar)
}

#[track_caller]
fn assert_full(seen: &Seen) {
    let error = seen.failed();
    assert_eq!(error.reason(), ErrorReason::NoSpace, "{error:?}");
    assert_eq!(error.code, Code::ResourceExhausted as i32, "{error:?}");
    assert!(error.message.contains("make room"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_work_on_a_full_disk_is_told_and_goes_on_with_room() {
    let content = noise();
    let registry = Registry::start(false);
    let pushed = in_registry(&registry, &content);
    let (_, path) = pushed.split_once('/').unwrap();
    let mut small = Small::start();
    let way = Forward::inside(&small.pid(), &registry.address);
    let image = format!("{}/{path}", way.address);
    let tunnel = Tunnel::to(small.address()).await;
    let mut images = ImageServiceClient::new(tunnel.channel.clone());
    let mut pull = async || {
        let begun = images.pull_image(pull_of(&image)).await;
        follow(begun.unwrap().into_inner()).await
    };
    // Full while it downloads, and while it unpacks.
    for (room, unpacked) in [(CONTENT / 3, false), (CONTENT + CONTENT / 3, true)] {
        small.leave(room);
        let seen = pull().await;
        assert_full(&seen);
        let unpacking = seen.progress.iter().any(|it| it.status == "Extracting");
        assert_eq!(unpacking, unpacked, "{seen:?}");
        let there = small.engine().docker(&["image", "ls", "-q", &image]);
        assert_eq!(there, "");
    }
    small.clear();
    pull().await.succeeded();
    let saved = save(&mut images, &image).await.unwrap();
    assert!(saved.len() as u64 > CONTENT);
    let container = unique("full");
    let create = ["create", "--net=none", "--name", &container, IMAGE, "true"];
    small.engine().docker(&create);
    small.engine().docker(&["image", "rm", &image]);

    // Whatever else an archive is for.
    let tar = context(&content);
    small.leave(CONTENT / 3);
    assert_full(&load(&mut images, &saved).await);
    assert_full(&build(&mut images, &tar).await);
    let step = |step| CopyToContainerRequest { step: Some(step) };
    let start = step(CopyStep::Start(CopyToContainerStart {
        container: container.clone(),
        path: Some(ContainerPath {
            path: Some(Path::Text("/tmp".into())),
        }),
        ..CopyToContainerStart::default()
    }));
    let steps = messages(start, &tar, |piece| step(CopyStep::Archive(piece)));
    let mut containers = ContainerServiceClient::new(tunnel.channel.clone());
    let refused = containers.copy_to_container(steps).await.unwrap_err();
    assert_refused(&refused, Code::ResourceExhausted, ErrorReason::NoSpace);
    small.clear();
    load(&mut images, &saved).await.succeeded();
    small.leave(CONTENT / 3);
    let refused = save(&mut images, &image).await.unwrap_err();
    assert_refused(&refused, Code::ResourceExhausted, ErrorReason::NoSpace);
    small.clear();

    // The engine dies after the first byte: what came is not taken for the whole.
    let request = SaveImageRequest {
        images: vec![image.clone()],
    };
    let mut pieces = images.save_image(request).await.unwrap().into_inner();
    let first = pieces.message().await.unwrap().unwrap();
    assert!(!first.content.is_empty());
    small.engine().kill();
    let broken = loop {
        match pieces.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended as if it were whole"),
            Err(broken) => break broken,
        }
    };
    assert_refused(&broken, Code::Unavailable, ErrorReason::EngineUnreachable);
    small.engine().up();
    let again = save(&mut images, &image).await.unwrap();
    assert_eq!(again.len(), saved.len());
}
