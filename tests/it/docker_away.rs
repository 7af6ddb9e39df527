//! Engines that are not there, go away, come back and hang.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tonic::{Code, Request, Status};
use turbopanel_agent::{
    engines::docker::{Deadlines, Engine, EngineAddress, Error, exec::ExecRequest},
    proto::{
        self, StreamLogsRequest, container_service_server::ContainerService, log_end::Reason,
        stream_logs_response::Event,
    },
    services::{container::ContainerApi, log::LogApi},
};

use crate::{
    command_support::members,
    docker_containers::reason,
    docker_logs::{of, open},
    docker_relay::Relay,
    docker_support::{IMAGE, PrivateEngine, TestContainer, alone, eventually},
};

pub fn short() -> Deadlines {
    Deadlines {
        connect: Duration::from_millis(500),
        probe: Duration::from_millis(500),
        call: Duration::from_secs(1),
        watch: Duration::from_millis(300),
        stop_margin: Duration::from_secs(1),
    }
}

async fn list(engine: &Engine) -> Result<usize, Status> {
    let request = proto::ListContainersRequest {
        all: true,
        ..proto::ListContainersRequest::default()
    };
    let answer = ContainerApi::new(engine.clone())
        .list_containers(Request::new(request))
        .await?;
    Ok(answer.into_inner().containers.len())
}

pub fn assert_unreachable(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason(status), "ENGINE_UNREACHABLE", "{status:?}");
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let missing = EngineAddress::Unix(directory.path().join("no.sock"));
    let dead = directory.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let closed = EngineAddress::Tcp {
        host: "127.0.0.1".to_owned(),
        port,
    };
    for address in [missing, EngineAddress::Unix(dead), closed] {
        let engine = Engine::new(address.clone());
        let began = Instant::now();
        let status = list(&engine).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_unreachable(&status);
        assert!(
            status.message().contains(&address.to_string()),
            "{status:?}"
        );
        assert!(status.message().contains("DOCKER_HOST"), "{status:?}");
        let known = engine.status().await;
        assert!(!known.reachable && !known.error.is_empty() && known.version.is_empty());
    }
}

#[tokio::test]
async fn what_is_no_engine_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                .await;
        }
    });
    let engine = Engine::with_deadlines(EngineAddress::Unix(path), short());
    let status = list(&engine).await.unwrap_err();
    assert!(
        status.message().contains("not a container engine"),
        "{status:?}"
    );
    assert!(!engine.status().await.reachable);
    server.abort();
}

#[tokio::test]
async fn requests_on_the_wire_are_exactly_the_expected_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let relay = Relay::start(&path, "/var/run/docker.sock");
    let engine = Engine::new(EngineAddress::Unix(path));
    let container = TestContainer::run(&[], &["sleep", "1000"]);
    let (name, version) = (container.named(), engine.status().await.api_version);
    assert!(!version.is_empty());
    engine.container(&name).await.unwrap();
    engine.start(&name).await.unwrap();
    engine.kill(&name, "HUP".parse().unwrap()).await.unwrap();
    engine.stop(&name, Some(Duration::ZERO)).await.unwrap();
    engine.remove(&name, true, true).await.unwrap();
    let gone = engine.container(&name).await.unwrap_err();
    assert!(matches!(gone, Error::ContainerNotFound { .. }), "{gone}");
    let expected = [
        "GET /_ping HTTP/1.1".to_owned(),
        format!("GET /v{version}/containers/{name}/json HTTP/1.1"),
        format!("POST /v{version}/containers/{name}/start HTTP/1.1"),
        format!("POST /v{version}/containers/{name}/kill?signal=1 HTTP/1.1"),
        format!("POST /v{version}/containers/{name}/stop?t=0 HTTP/1.1"),
        format!("DELETE /v{version}/containers/{name}?force=true&v=true HTTP/1.1"),
        format!("GET /v{version}/containers/{name}/json HTTP/1.1"),
    ];
    assert_eq!(relay.lines(), expected);
    eventually("every connection is closed", async || relay.open() == 0).await;
}

/// Whether the status becomes this within its own probes.
async fn becomes(engine: &Engine, reachable: bool) {
    let mut watch = engine.watch();
    let changed = watch.wait_for(|status| status.reachable == reachable);
    tokio::time::timeout(Duration::from_secs(20), changed)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_goes_hangs_and_comes_back() {
    let mut private = tokio::task::spawn_blocking(PrivateEngine::start)
        .await
        .unwrap();
    let engine = Engine::with_deadlines(private.address(), short());
    let api = ContainerApi::new(engine.clone());
    let logs = LogApi::new(engine.clone());
    let run = |name: &str| {
        private.docker(&[
            "run",
            "-d",
            "--net=none",
            "--name",
            name,
            IMAGE,
            "sh",
            "-c",
            "echo up; exec sleep 1000",
        ]);
    };
    let follow = async |name: &str| {
        let mut events = open(
            &logs,
            StreamLogsRequest {
                follow: true,
                ..of(name)
            },
        )
        .await
        .unwrap();
        let first = events.next().await.unwrap().unwrap().event.unwrap();
        assert!(matches!(first, Event::Batch(_)));
        events
    };
    run("hung");
    becomes(&engine, true).await;
    assert!(
        engine
            .status()
            .await
            .version
            .starts_with(|c: char| c.is_ascii_digit())
    );

    // It hangs: calls fail in time, a change is unknown rather than failed, a silent follow ends.
    let mut events = follow("hung").await;
    let exec = ExecRequest {
        container: "hung".parse().unwrap(),
        argv: vec!["sleep".into(), "7009".into()],
        environment: Vec::new(),
        working_dir: None,
        user: None,
        tty: false,
    };
    let running = engine.exec(exec).await.unwrap();
    private.hang();
    let began = Instant::now();
    assert_unreachable(&list(&engine).await.unwrap_err());
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    let began = Instant::now();
    let ended = tokio::time::timeout(Duration::from_secs(10), events.next())
        .await
        .unwrap();
    assert_unreachable(&ended.unwrap().unwrap_err());
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(events.next().await.is_none());
    assert!(!engine.status().await.reachable);
    assert_unreachable(&list(&engine).await.unwrap_err());
    // Its process is seen from here, so that it is killed without the engine.
    let process = running.process.pid();
    assert!(members(process) > 0);
    drop(running);
    eventually("the command has ended", async || members(process) == 0).await;
    private.go_on();
    becomes(&engine, true).await;
    list(&engine).await.unwrap();

    // It hangs between the agreement and a change: what it did is not known.
    private.hang();
    let stop = proto::StopContainerRequest {
        container: "hung".into(),
        grace: Some(prost_types::Duration::default()),
    };
    let unknown = api
        .stop_container(Request::new(stop.clone()))
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::Unknown, "{unknown:?}");
    assert_eq!(reason(&unknown), "OUTCOME_UNKNOWN");
    private.go_on();
    becomes(&engine, true).await;
    api.stop_container(Request::new(stop)).await.unwrap();

    // It is killed in the middle of a follow: that is no end of the container.
    run("killed");
    let mut events = follow("killed").await;
    private.kill();
    assert_unreachable(&events.next().await.unwrap().unwrap_err());
    assert_unreachable(&list(&engine).await.unwrap_err());
    private = tokio::task::spawn_blocking(move || {
        private.up();
        private
    })
    .await
    .unwrap();
    assert!(
        list(&engine).await.unwrap() >= 2,
        "the first call after it is back"
    );

    // It ends in good order, which ends its containers.
    private.docker(&[
        "run",
        "-d",
        "--net=none",
        "--name",
        "ended",
        IMAGE,
        "sh",
        "-c",
        "echo up; exec sleep 1000",
    ]);
    let mut events = open(
        &logs,
        StreamLogsRequest {
            follow: true,
            ..of("ended")
        },
    )
    .await
    .unwrap();
    events.next().await.unwrap().unwrap();
    private = tokio::task::spawn_blocking(move || {
        private.down();
        private
    })
    .await
    .unwrap();
    match events.next().await.unwrap() {
        Ok(end) => assert!(
            matches!(end.event, Some(Event::End(end)) if end.reason() == Reason::ContainerEnded)
        ),
        Err(status) => assert_unreachable(&status),
    }
    tokio::task::spawn_blocking(move || drop(private))
        .await
        .unwrap();
}

#[tokio::test]
async fn refused_access_is_told_with_its_mend() {
    // Root passes over permissions: this test again, without that.
    let setpriv = &[
        "setpriv",
        "--bounding-set",
        "-dac_override,-dac_read_search",
        "--",
    ];
    if !alone("docker_away::refused_access_is_told_with_its_mend", setpriv) {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let engine = Engine::new(EngineAddress::Unix(path));
    let status = list(&engine).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert_eq!(reason(&status), "ENGINE_ACCESS_DENIED");
    assert!(
        status.message().contains("-v /var/run/docker.sock"),
        "{status:?}"
    );
    assert!(!engine.status().await.reachable);
}
