//! Images, registries and callers of `ImageService` for tests.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status};
use turbopanel_agent::{
    Agent,
    engines::docker::EngineAddress,
    proto::{
        Operation, OperationError, OperationEvent, OperationProgress, OperationState,
        PullImageRequest, PushImageRequest, image_service_server::ImageService,
        operation_event::Event,
    },
    services::{image::ImageApi, operation::OperationEvents},
};

use crate::docker_support::{docker, unique};

/// The user of registries that ask for one.
pub const USER: &str = "pusher";
/// Nothing but a registry may ever see it.
pub const PASSWORD: &str = "canary-b6Rk-password";
/// The two as the registry has them.
const HTPASSWD: &str = "pusher:$2y$05$/t0TVAeJVL63O0v8jAVjQOtHiQq8hJX0sD1ejP0Y02m0cQhXLneaa\n";

/// An agent in this process, whose operations live in memory.
pub fn agent() -> Agent {
    Agent::integrated("images", EngineAddress::default(), None)
}

pub fn api(agent: &Agent) -> ImageApi {
    ImageApi::new(agent.clone())
}

/// An image made here, whose names are removed at the end.
pub struct TestImage {
    pub name: String,
    pub id: String,
}

impl TestImage {
    /// One layer with a file of its own.
    pub fn import(changes: &[&str]) -> Self {
        Self::named(&format!("turbopanel-test/{}:1", unique("image")), changes)
    }

    /// The same under this name.
    pub fn named(name: &str, changes: &[&str]) -> Self {
        Self::with_content(name, changes, unique("content").as_bytes())
    }

    pub fn with_content(name: &str, changes: &[&str], content: &[u8]) -> Self {
        let mut command = Command::new("docker");
        command.arg("import");
        for change in changes {
            command.args(["--change", change]);
        }
        let mut child = command
            .args(["-", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut archive = tar::Builder::new(child.stdin.take().unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, "content", content)
            .unwrap();
        archive.into_inner().unwrap().flush().unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let id = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let name = name.to_owned();
        Self { name, id }
    }

    pub fn exists(&self) -> bool {
        exists(&self.name)
    }
}

/// Whether the engine has an image.
pub fn exists(name: &str) -> bool {
    let inspect = Command::new("docker")
        .args(["image", "inspect", name])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    inspect.unwrap().success()
}

/// Removes images at the end.
pub struct Names(pub Vec<String>);

impl Drop for Names {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .args(["image", "rm", "-f"])
            .args(&self.0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for TestImage {
    fn drop(&mut self) {
        drop(Names(vec![self.name.clone(), self.id.clone()]));
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A real registry, which the engine reaches without TLS because it is on loopback.
pub struct Registry {
    child: Child,
    pub address: String,
    _directory: tempfile::TempDir,
}

impl Registry {
    /// For everybody, or for [`USER`] alone.
    pub fn start(guarded: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let port = free_port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/registry.sh");
        let mut command = Command::new(script);
        command.arg("serve").arg(path).arg(port.to_string());
        if guarded {
            std::fs::write(path.join("users"), HTPASSWD).unwrap();
            command.arg(path.join("users"));
        }
        let log = std::fs::File::create(path.join("log")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let registry = Self {
            child,
            address: format!("127.0.0.1:{port}"),
            _directory: directory,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !answers(&registry.address) {
            assert!(
                Instant::now() < deadline,
                "no registry (scripts/registry.sh ensure): {}",
                std::fs::read_to_string(registry._directory.path().join("log")).unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    /// A name in it.
    pub fn name(&self) -> String {
        format!("{}/team/{}:1", self.address, unique("app"))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answers(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let asked = b"GET /v2/ HTTP/1.0\r\n\r\n";
    let mut head = [0; 4];
    stream.write_all(asked).is_ok() && stream.read_exact(&mut head).is_ok() && head == *b"HTTP"
}

pub fn pull_of(image: &str) -> PullImageRequest {
    PullImageRequest {
        image: image.to_owned(),
        ..PullImageRequest::default()
    }
}

pub fn push_of(image: &str) -> PushImageRequest {
    PushImageRequest {
        image: image.to_owned(),
        ..PushImageRequest::default()
    }
}

/// What was seen of an operation.
#[derive(Debug)]
pub struct Seen {
    pub operation: Operation,
    pub progress: Vec<OperationProgress>,
    pub output: Vec<u8>,
}

impl Seen {
    #[track_caller]
    pub fn succeeded(&self) -> turbopanel_agent::proto::OperationResult {
        let operation = &self.operation;
        assert_eq!(operation.state(), OperationState::Succeeded, "{self:?}");
        operation.result.clone().unwrap()
    }

    #[track_caller]
    pub fn failed(&self) -> OperationError {
        let operation = &self.operation;
        assert_eq!(operation.state(), OperationState::Failed, "{self:?}");
        operation.error.clone().unwrap()
    }
}

/// Follows an operation to its end.
pub async fn seen(begun: Result<Response<OperationEvents>, Status>) -> Seen {
    follow(begun.unwrap().into_inner()).await
}

pub async fn follow(
    mut events: impl StreamExt<Item = Result<OperationEvent, Status>> + Unpin,
) -> Seen {
    let (mut progress, mut output, mut operation) = (Vec::new(), Vec::new(), None);
    let reading = async {
        while let Some(event) = events.next().await {
            match event.unwrap().event.unwrap() {
                Event::Operation(told) => operation = Some(told),
                Event::Progress(told) => progress.push(told),
                Event::Output(told) => output.extend_from_slice(&told.content),
                Event::Gap(_) => {}
            }
        }
    };
    timeout(Duration::from_secs(120), reading).await.unwrap();
    Seen {
        operation: operation.unwrap(),
        progress,
        output,
    }
}

pub async fn pull(agent: &Agent, request: PullImageRequest) -> Seen {
    seen(api(agent).pull_image(Request::new(request)).await).await
}

pub async fn push(agent: &Agent, request: PushImageRequest) -> Seen {
    seen(api(agent).push_image(Request::new(request)).await).await
}

/// Pushes an image that is made here and then removed from the host.
pub fn in_registry(registry: &Registry, content: &[u8]) -> String {
    let name = registry.name();
    let image = TestImage::with_content(&name, &[], content);
    docker(None, &["push", "-q", &image.name]);
    name
}
