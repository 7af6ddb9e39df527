//! C7: commands in containers of an engine that hangs or is killed. Their callers are told, and nothing of them is left.

use std::time::Duration;

use tonic::Code;
use turbopanel_agent::proto::{CommandStart, command_start::Target};

use crate::{
    agent_support::{Agent, eventually},
    command_support::{Running, host, members, reason},
    docker_support::{IMAGE, PrivateEngine},
};

/// Starts one in a container, and waits until it runs. With its process group.
async fn started(agent: &Agent, container: &str, timeout: Option<Duration>) -> (Running, u32) {
    let start = CommandStart {
        target: Some(Target::Container(container.into())),
        timeout: timeout.map(|timeout| timeout.try_into().unwrap()),
        ..host(&[
            "sh",
            "-c",
            "trap '' TERM; sleep 1000 & sleep 1000; sleep 1000",
        ])
    };
    let mut running = Running::start(agent, start).await.unwrap();
    let group = running.pid().await;
    assert!(members(group) > 0);
    (running, group)
}

fn gone(group: u32) {
    eventually("the group is gone", || members(group) == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn c7_commands_end_with_their_engine() {
    let mut engine = tokio::task::spawn_blocking(PrivateEngine::start)
        .await
        .unwrap();
    let run = |name: &str| {
        let run = [
            "run",
            "-d",
            "--net=none",
            "--name",
            name,
            IMAGE,
            "sleep",
            "1000",
        ];
        engine.docker(&run);
    };
    run("one");
    let socket = format!("unix://{}", engine.socket().display());
    let agent = Agent::start(&[("DOCKER_HOST", &socket)]);
    let (endless, endless_group) = started(&agent, "one", None).await;
    let (left, left_group) = started(&agent, "one", None).await;
    let (timed, timed_group) = started(&agent, "one", Some(Duration::from_secs(2))).await;

    engine.hang();
    // Its caller goes: the process is killed without the engine.
    drop(left);
    gone(left_group);
    // Its time passes: the caller is told, though the engine says nothing of its end.
    let (_, _, exited) = timed.end().await.unwrap();
    assert!(exited.timed_out && exited.signal == "SIGKILL", "{exited:?}");
    gone(timed_group);
    // A silent one with no limit of its own is given up on when the engine turns out to hang.
    let status = tokio::time::timeout(Duration::from_secs(60), endless.end());
    let status = status.await.expect("it never ends").unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "ENGINE_UNREACHABLE")
    );
    gone(endless_group);
    engine.go_on();

    let (cut, cut_group) = started(&agent, "one", None).await;
    engine.kill();
    let status = cut.end().await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "ENGINE_UNREACHABLE")
    );
    gone(cut_group);
    tokio::task::spawn_blocking(move || drop(engine))
        .await
        .unwrap();
}
