//! The agent with Podman's Docker-compatible socket as its engine. docs/podman.md says what is shown here.

use std::time::Duration;

use tokio::time::timeout;
use tokio_stream::StreamExt;
use turbopanel_agent::proto::{
    CommandStart, ContainerDetail, ContainerState, CreateContainerRequest, EnvironmentVariable,
    GetContainerRequest, GetStatusRequest, KillContainerRequest, ListContainersRequest, LogLine,
    OutputStream, RemoveContainerRequest, RestartContainerRequest, StartContainerRequest, StdinEnd,
    StopContainerRequest, StreamLogsRequest, agent_service_client::AgentServiceClient,
    command_start::Target, container_service_client::ContainerServiceClient,
    log_service_client::LogServiceClient, run_command_request::Step,
    run_command_response::Step as Told, stream_logs_response::Event,
};

use crate::{
    agent_support::{Agent, Connected},
    command_support::{Running, reason, step},
    docker_support::eventually,
    podman_engine::Podman,
    private_engine::IMAGE,
};

struct Engine {
    podman: Podman,
    agent: Agent,
    containers: ContainerServiceClient<Connected>,
}

impl Engine {
    async fn start() -> Self {
        let podman = Podman::start();
        let agent = Agent::start(&[("DOCKER_HOST", &podman.address())]);
        let containers = ContainerServiceClient::new(agent.connect(None).await);
        Self {
            podman,
            agent,
            containers,
        }
    }

    /// Makes a container that runs this script, and starts it.
    async fn run(&mut self, name: &str, script: &str, tty: bool) {
        let request = CreateContainerRequest {
            name: name.to_owned(),
            image: IMAGE.to_owned(),
            network: "none".to_owned(),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            tty,
            environment: vec![EnvironmentVariable {
                name: "OWN".to_owned(),
                value: "mine".to_owned(),
            }],
            labels: [("kind".to_owned(), name.to_owned())].into(),
            ..CreateContainerRequest::default()
        };
        self.containers.create_container(request).await.unwrap();
        let container = name.to_owned();
        let request = StartContainerRequest { container };
        self.containers.start_container(request).await.unwrap();
    }

    async fn get(&mut self, name: &str) -> ContainerDetail {
        let request = GetContainerRequest {
            container: name.to_owned(),
            include_environment_values: true,
        };
        let found = self.containers.get_container(request).await.unwrap();
        found.into_inner().container.unwrap()
    }

    async fn logs(&self, request: StreamLogsRequest) -> Vec<LogLine> {
        let mut client = LogServiceClient::new(self.agent.connect(None).await);
        let mut events = client.stream_logs(request).await.unwrap().into_inner();
        let mut lines = Vec::new();
        let reading = async {
            while let Some(answer) = events.message().await.unwrap() {
                if let Some(Event::Batch(batch)) = answer.event {
                    lines.extend(batch.lines);
                }
            }
        };
        timeout(Duration::from_secs(30), reading).await.unwrap();
        lines
    }
}

fn logs_of(name: &str) -> StreamLogsRequest {
    StreamLogsRequest {
        container: name.to_owned(),
        ..StreamLogsRequest::default()
    }
}

fn text(lines: &[LogLine]) -> Vec<String> {
    let text = |line: &LogLine| String::from_utf8_lossy(&line.content).into_owned();
    lines.iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_containers_live_as_with_docker() {
    let mut engine = Engine::start().await;
    let mut status = AgentServiceClient::new(engine.agent.connect(None).await);
    let status = status
        .get_status(GetStatusRequest::default())
        .await
        .unwrap();
    let known = status.into_inner().status.unwrap().engine.unwrap();
    assert!(
        known.reachable && known.version.ends_with(" (Podman)"),
        "{known:?}"
    );

    engine.run("web", "sleep 600", false).await;
    let web = engine.get("web").await;
    let container = web.container.unwrap();
    assert_eq!(container.state(), ContainerState::Running);
    // It gives short names a registry, and adds variables of its own.
    assert_eq!(container.image, format!("localhost/{IMAGE}"));
    let variable = |name: &str| web.environment.iter().find(|it| it.name == name);
    assert_eq!(variable("OWN").unwrap().value, "mine");
    assert_eq!(variable("container").unwrap().value, "podman");
    for (label, count) in [("web", 1), ("other", 0), ("", 1)] {
        let request = ListContainersRequest {
            labels: [("kind".to_owned(), label.to_owned())].into(),
            ..ListContainersRequest::default()
        };
        let listed = engine.containers.list_containers(request).await.unwrap();
        assert_eq!(listed.into_inner().containers.len(), count, "{label}");
    }
    let client = &mut engine.containers;
    let web = || "web".to_owned();
    let again = client
        .start_container(StartContainerRequest { container: web() })
        .await;
    assert!(again.unwrap().into_inner().already_running);
    // Its refusals mean the same, though it has other words for them.
    let create = CreateContainerRequest {
        name: web(),
        image: IMAGE.to_owned(),
        ..CreateContainerRequest::default()
    };
    let refused = client.create_container(create.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "CONTAINER_NAME_IN_USE", "{refused:?}");
    let missing = CreateContainerRequest {
        name: "other".to_owned(),
        image: "turbopanel/no-such-image:1".to_owned(),
        ..create
    };
    let refused = client.create_container(missing).await.unwrap_err();
    assert_eq!(reason(&refused), "IMAGE_NOT_FOUND", "{refused:?}");
    let container = "nobody".to_owned();
    let refused = client
        .start_container(StartContainerRequest { container })
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "CONTAINER_NOT_FOUND", "{refused:?}");
    let get = GetContainerRequest {
        container: "nobody".to_owned(),
        ..GetContainerRequest::default()
    };
    let refused = client.get_container(get).await.unwrap_err();
    assert_eq!(reason(&refused), "CONTAINER_NOT_FOUND", "{refused:?}");
    let remove = RemoveContainerRequest {
        container: web(),
        ..RemoveContainerRequest::default()
    };
    let refused = client.remove_container(remove.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "CONTAINER_STATE_CONFLICT", "{refused:?}");
    let restart = RestartContainerRequest {
        container: web(),
        grace: Some(prost_types::Duration::default()),
    };
    client.restart_container(restart).await.unwrap();
    let kill = KillContainerRequest {
        container: web(),
        ..KillContainerRequest::default()
    };
    client.kill_container(kill.clone()).await.unwrap();
    let stop = StopContainerRequest {
        container: web(),
        grace: None,
    };
    eventually("it has ended", async || {
        let stopped = engine
            .containers
            .stop_container(stop.clone())
            .await
            .unwrap();
        stopped.into_inner().already_stopped
    })
    .await;
    let refused = engine.containers.kill_container(kill).await.unwrap_err();
    assert_eq!(reason(&refused), "CONTAINER_STATE_CONFLICT", "{refused:?}");
    engine.containers.remove_container(remove).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_containers_are_stopped_with_a_grace() {
    let mut engine = Engine::start().await;
    let script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    engine.run("web", script, false).await;
    // It keeps no grace for what is made through this API, and would kill at once.
    let own = engine
        .podman
        .docker(&["inspect", "-f", "{{.Config.StopTimeout}}", "web"]);
    assert_eq!(own, "0");
    let ready = async || text(&engine.logs(logs_of("web")).await) == ["ready"];
    eventually("the trap is set", ready).await;
    let stop = StopContainerRequest {
        container: "web".to_owned(),
        grace: None,
    };
    engine.containers.stop_container(stop).await.unwrap();
    assert_eq!(engine.get("web").await.exit_code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_logs_come_whole_and_their_times_in_seconds() {
    let mut engine = Engine::start().await;
    let script = "echo out; echo err >&2; head -c 40000 /dev/zero | tr '\\0' x; echo; printf open; sleep 0.3; echo; echo last";
    engine.run("web", script, false).await;
    let follow = StreamLogsRequest {
        follow: true,
        ..logs_of("web")
    };
    let followed = engine.logs(follow).await;
    let stored = engine.logs(logs_of("web")).await;
    for lines in [followed, stored.clone()] {
        assert!(
            lines
                .iter()
                .all(|line| line.time_unix_nano % 1_000_000_000 == 0),
            "{lines:?}"
        );
        assert!(lines.iter().all(|line| line.time_unix_nano > 0));
        let error: Vec<&LogLine> = lines
            .iter()
            .filter(|line| line.stream() == OutputStream::Stderr)
            .collect();
        assert_eq!((error.len(), &error[0].content[..]), (1, &b"err"[..]));
        let mut whole = String::new();
        for line in lines
            .iter()
            .filter(|line| line.stream() == OutputStream::Stdout)
        {
            whole.push_str(std::str::from_utf8(&line.content).unwrap());
            if !line.partial {
                whole.push('\n');
            }
            // Docker's pieces have 16 KiB.
            assert!(line.content.len() <= 8192);
        }
        let long = "x".repeat(40_000);
        assert_eq!(whole, format!("out\n{long}\nopen\nlast\n"));
    }
    let tail = StreamLogsRequest {
        tail_lines: Some(1),
        ..logs_of("web")
    };
    assert_eq!(text(&engine.logs(tail).await), ["last"]);
    let after = stored.last().unwrap().time_unix_nano / 1_000_000_000 + 1;
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let later = StreamLogsRequest {
        since: at(after),
        ..logs_of("web")
    };
    assert!(engine.logs(later).await.is_empty());
    let before = StreamLogsRequest {
        until: at(after),
        ..logs_of("web")
    };
    assert_eq!(engine.logs(before).await.len(), stored.len());

    engine.run("terminal", "echo out; echo err >&2", true).await;
    eventually("both lines are there", async || {
        text(&engine.logs(logs_of("terminal")).await) == ["out\r", "err\r"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_commands_run_in_containers() {
    let mut engine = Engine::start().await;
    engine.run("web", "sleep 600", false).await;
    let start = |argv: &[&str]| CommandStart {
        target: Some(Target::Container("web".to_owned())),
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        ..CommandStart::default()
    };
    let script = "cat; echo err >&2; exit 7";
    let running = Running::start(&engine.agent, start(&["sh", "-c", script]))
        .await
        .unwrap();
    running.ask(Step::Stdin("in".into())).await;
    running
        .send
        .send(step(Step::StdinEnd(StdinEnd {})))
        .await
        .unwrap();
    let (out, err, exited) = timeout(Duration::from_secs(30), running.end())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (&out[..], &err[..], exited.exit_code),
        (&b"in"[..], &b"err\n"[..], 7)
    );
    let refused = Running::start(&engine.agent, start(&["no-such-program"])).await;
    let refused = match refused {
        Err(refused) => refused,
        Ok(running) => running.end().await.unwrap_err(),
    };
    assert_eq!(reason(&refused), "PROGRAM_NOT_FOUND", "{refused:?}");
    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut running = Running::start(&engine.agent, start(&["sh", "-c", script]))
        .await
        .unwrap();
    assert!(running.pid().await > 0);
    let ready = running.answers.next().await.unwrap().unwrap().step;
    assert_eq!(ready, Some(Told::Stdout("ready\n".into())));
    running.ask(Step::Signal("TERM".to_owned())).await;
    let (_, _, exited) = timeout(Duration::from_secs(30), running.end())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(exited.exit_code, 9);
}
