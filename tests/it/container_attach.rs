//! Attaching to containers, through a tunnel.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use turbopanel_agent::{
    engines::docker::EngineAddress,
    proto::{
        AttachContainerRequest, AttachContainerResponse, AttachStart, AttachStdinEnd,
        ContainerTerminalSize, ErrorReason, attach_container_request::Step as Asked,
        attach_container_response::Step, container_service_client::ContainerServiceClient,
    },
};

use crate::{
    docker_containers::assert_refused,
    docker_names::HOSTILE,
    docker_relay::{ENGINE, Relay},
    docker_support::{TestContainer, docker, eventually, unique},
    tunnel_support::Tunnel,
};

struct Attached {
    send: mpsc::Sender<AttachContainerRequest>,
    answers: Streaming<AttachContainerResponse>,
}

impl Attached {
    async fn start(tunnel: &Tunnel, start: AttachStart) -> Result<Self, Status> {
        let (send, steps) = mpsc::channel(4);
        send.send(asked(Asked::Start(start))).await.unwrap();
        let mut client = ContainerServiceClient::new(tunnel.channel.clone());
        let answers = client.attach_container(ReceiverStream::new(steps)).await?;
        Ok(Self {
            send,
            answers: answers.into_inner(),
        })
    }

    async fn ask(&self, step: Asked) {
        self.send.send(asked(step)).await.unwrap();
    }

    async fn next(&mut self) -> Step {
        let next = tokio::time::timeout(std::time::Duration::from_secs(30), self.answers.message());
        next.await
            .expect("nothing comes")
            .unwrap()
            .expect("it ended")
            .step
            .unwrap()
    }

    /// Reads until what was printed has this text.
    async fn until(&mut self, text: &str) -> String {
        let mut printed = Vec::new();
        loop {
            match self.next().await {
                Step::Stdout(bytes) | Step::Stderr(bytes) => printed.extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
            let seen = String::from_utf8_lossy(&printed);
            if seen.contains(text) {
                return seen.into_owned();
            }
        }
    }
}

fn asked(step: Asked) -> AttachContainerRequest {
    AttachContainerRequest { step: Some(step) }
}

fn to(container: &str) -> AttachStart {
    AttachStart {
        container: container.to_owned(),
        ..AttachStart::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_outputs_come_and_input_is_read() {
    let tunnel = Tunnel::to(EngineAddress::default()).await;
    let script = "echo up; echo err >&2; while read l; do echo got $l; done; exit 5";
    let container = TestContainer::run(&["-i"], &["sh", "-c", script]);
    eventually("it is up", async || {
        docker(None, &["logs", &container.name]).contains("up")
    })
    .await;
    let start = AttachStart {
        stdin: true,
        logs: true,
        ..to(&container.name)
    };
    let mut attached = Attached::start(&tunnel, start).await.unwrap();
    let Step::Started(started) = attached.next().await else {
        panic!("it does not begin")
    };
    assert!(!started.tty && started.id.len() == 64);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while out.is_empty() || err.is_empty() {
        match attached.next().await {
            Step::Stdout(bytes) => out.extend_from_slice(&bytes),
            Step::Stderr(bytes) => err.extend_from_slice(&bytes),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((&out[..], &err[..]), (&b"up\n"[..], &b"err\n"[..]));
    attached.ask(Asked::Stdin(b"one\n"[..].into())).await;
    assert_eq!(attached.until("one\n").await, "got one\n");

    // Leaving changes nothing; a second one sees what comes from then on.
    drop(attached);
    let start = AttachStart {
        stdin: true,
        ..to(&container.name)
    };
    let mut attached = Attached::start(&tunnel, start).await.unwrap();
    assert!(matches!(attached.next().await, Step::Started(_)));
    attached.ask(Asked::Stdin(b"two\n"[..].into())).await;
    assert_eq!(attached.until("two\n").await, "got two\n");
    docker(None, &["kill", "-s", "KILL", &container.name]);
    let Step::Ended(ended) = attached.next().await else {
        panic!("it does not end")
    };
    assert_eq!(ended.exit_code, Some(137));
    assert!(attached.answers.message().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_input_ends_what_reads_it_and_a_terminal_has_a_size() {
    let tunnel = Tunnel::to(EngineAddress::default()).await;
    // Made, attached to, and started, as by `docker run -i`.
    let container = TestContainer::create(&["-i"], &["sh", "-c", "cat; exit 9"]);
    let start = AttachStart {
        stdin: true,
        ..to(&container.name)
    };
    let mut attached = Attached::start(&tunnel, start).await.unwrap();
    assert!(matches!(attached.next().await, Step::Started(_)));
    docker(None, &["start", &container.name]);
    attached
        .ask(Asked::Stdin(b"whole".repeat(40_000).into()))
        .await;
    attached.ask(Asked::StdinEnd(AttachStdinEnd {})).await;
    let mut printed = 0;
    let ended = loop {
        match attached.next().await {
            Step::Stdout(bytes) => printed += bytes.len(),
            Step::Ended(ended) => break ended,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((printed, ended.exit_code), (200_000, Some(9)));

    let terminal = TestContainer::run(&["-it"], &["sh"]);
    let start = AttachStart {
        stdin: true,
        size: Some(ContainerTerminalSize {
            columns: 91,
            rows: 37,
        }),
        ..to(&terminal.name)
    };
    let mut attached = Attached::start(&tunnel, start).await.unwrap();
    let Step::Started(started) = attached.next().await else {
        panic!("it does not begin")
    };
    assert!(started.tty);
    attached.ask(Asked::Stdin(b"stty size\n"[..].into())).await;
    attached.until("37 91").await;
    attached
        .ask(Asked::Size(ContainerTerminalSize {
            columns: 55,
            rows: 44,
        }))
        .await;
    attached.ask(Asked::Stdin(b"stty size\n"[..].into())).await;
    attached.until("44 55").await;
    // It is removed while it is attached to.
    docker(None, &["rm", "-f", &terminal.name]);
    let ended = loop {
        match attached.next().await {
            Step::Stdout(_) => {}
            Step::Ended(ended) => break ended,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(ended.exit_code, None | Some(137)), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_attached_to_says_why_and_leaving_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("relay.sock");
    let relay = Relay::start(&socket, ENGINE);
    let tunnel = Tunnel::to(EngineAddress::Unix(socket)).await;
    for name in HOSTILE {
        let refused = Attached::start(&tunnel, to(name)).await.err().unwrap();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    let ping = |line: &String| line == "GET /_ping HTTP/1.1";
    assert!(relay.lines().iter().all(ping), "{:?}", relay.lines());
    let refused = Attached::start(&tunnel, to(&unique("nosuch")))
        .await
        .err()
        .unwrap();
    assert_refused(&refused, Code::NotFound, ErrorReason::ContainerNotFound);
    // The engine notices that a caller has gone when the container prints.
    let script = "while :; do echo x; sleep 0.1; done";
    let container = TestContainer::run(&[], &["sh", "-c", script]);
    let with_input = AttachStart {
        stdin: true,
        ..to(&container.name)
    };
    let refused = Attached::start(&tunnel, with_input).await.err().unwrap();
    assert_refused(
        &refused,
        Code::FailedPrecondition,
        ErrorReason::ContainerStateConflict,
    );
    let no_size = AttachStart {
        size: Some(ContainerTerminalSize {
            columns: 0,
            rows: 1,
        }),
        ..to(&container.name)
    };
    let refused = Attached::start(&tunnel, no_size).await.err().unwrap();
    assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    let mut attached = Attached::start(&tunnel, to(&container.name)).await.unwrap();
    assert!(matches!(attached.next().await, Step::Started(_)));
    attached.ask(Asked::Stdin(b"x"[..].into())).await;
    let refused = loop {
        if let Err(refused) = attached.answers.message().await {
            break refused;
        }
    };
    assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    let mut attached = Attached::start(&tunnel, to(&container.name)).await.unwrap();
    assert!(matches!(attached.next().await, Step::Started(_)));
    assert!(relay.open() > 1);
    drop(attached);
    // The agent keeps an idle one, to notice when the engine goes.
    eventually("every other connection is closed", async || {
        relay.open() <= 1
    })
    .await;
}
