//! `RunCommand` in a container, by gRPC: how it ends, and that nothing of it is left.

use std::time::Duration;

use tokio_stream::StreamExt;
use turbopanel_agent::proto::{
    CommandStart, command_start::Target, run_command_request::Step,
    run_command_response::Step as Told,
};

use crate::{
    agent_support::{Agent, eventually, hidden_command},
    command_support::{Running, host, members, reason, run, step},
    docker_support::TestContainer,
};

/// Ends by nothing but SIGKILL, and says when it is so far.
const STUBBORN: [&str; 3] = [
    "sh",
    "-c",
    "trap '' TERM HUP INT; sleep 1000 & echo ready; sleep 1000; sleep 1000",
];

fn inside(container: &TestContainer, argv: &[&str]) -> CommandStart {
    CommandStart {
        target: Some(Target::Container(container.name.clone())),
        ..host(argv)
    }
}

/// Starts it and waits until it runs. With its process group.
async fn started(agent: &Agent, start: CommandStart) -> (Running, u32) {
    let mut running = Running::start(agent, start).await.unwrap();
    let group = running.pid().await;
    let first = running.answers.next().await.unwrap().unwrap().step.unwrap();
    assert_eq!(first, Told::Stdout("ready\n".into()));
    assert!(members(group) > 0);
    (running, group)
}

fn gone(group: u32) {
    eventually("the group is gone", || members(group) == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_kills_the_whole_group() {
    let (agent, container) = (Agent::start(&[]), sleeper());
    let start = CommandStart {
        timeout: Some(Duration::from_millis(700).try_into().unwrap()),
        ..inside(&container, &STUBBORN)
    };
    let (running, group) = started(&agent, start).await;
    let (_, _, exited) = running.end().await.unwrap();
    assert!(exited.timed_out && exited.signal == "SIGKILL", "{exited:?}");
    assert_eq!(exited.exit_code, 137);
    gone(group);
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_the_group() {
    let (agent, container) = (Agent::start(&[]), sleeper());
    let script = "trap 'echo got it; exit 7' INT; echo ready; while :; do sleep 0.05; done";
    let (running, _) = started(&agent, inside(&container, &["sh", "-c", script])).await;
    running.ask(Step::Signal("SIGINT".into())).await;
    let (out, _, exited) = running.end().await.unwrap();
    assert_eq!((&out[..], exited.exit_code), (&b"got it\n"[..], 7));
}

/// One that comes when the command has just ended changes nothing, also where its process is hidden.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_after_the_end_is_none() {
    let container = sleeper();
    for agent in [Agent::start(&[]), Agent::start_by(hidden_command(), &[])] {
        for _ in 0..10 {
            let start = inside(&container, &["sh", "-c", "exit 3"]);
            let running = Running::start(&agent, start).await.unwrap();
            for _ in 0..3 {
                let signal = Step::Signal("TERM".into());
                let _ = running.send.send(step(signal)).await;
            }
            let exited = running.end().await.unwrap().2;
            assert!(
                exited.exit_code == 3 || exited.signal == "SIGTERM",
                "{exited:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_kills_the_whole_group() {
    let (agent, container) = (Agent::start(&[]), sleeper());
    let (running, group) = started(&agent, inside(&container, &STUBBORN)).await;
    drop(running);
    gone(group);
    // Also one whose output nobody took.
    let mut running = Running::start(&agent, inside(&container, &["sh", "-c", "yes & yes"]))
        .await
        .unwrap();
    let group = running.pid().await;
    eventually("it prints", || members(group) == 2);
    drop(running);
    gone(group);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_reaches_a_command_whose_caller_reads_nothing() {
    let (agent, container) = (Agent::start(&[]), sleeper());
    let start = CommandStart {
        timeout: Some(Duration::from_millis(700).try_into().unwrap()),
        ..inside(&container, &["sh", "-c", "yes & yes"])
    };
    let mut running = Running::start(&agent, start).await.unwrap();
    let group = running.pid().await;
    gone(group);
    let (_, _, exited) = running.end().await.unwrap();
    assert!(exited.timed_out && exited.signal == "SIGKILL", "{exited:?}");
}

/// C10: its call is told why, and nothing of it is left.
#[tokio::test(flavor = "multi_thread")]
async fn c10_an_agent_that_stops_kills_the_whole_group() {
    let (mut agent, container) = (Agent::start(&[]), sleeper());
    let (running, group) = started(&agent, inside(&container, &STUBBORN)).await;
    agent.signal(rustix::process::Signal::TERM);
    let status = running.end().await.unwrap_err();
    assert_eq!(reason(&status), "AGENT_STOPPING", "{status}");
    assert_eq!(agent.ended().code(), Some(0));
    gone(group);
}

/// The engine itself waits a little for a background process that holds the output, then ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_background_process_that_holds_the_output_does_not_hold_the_call() {
    let (agent, container) = (Agent::start(&[]), sleeper());
    for script in ["sleep 7004 & echo done", "setsid sleep 7004 & echo done"] {
        let (out, _, exited) = run(&agent, inside(&container, &["sh", "-c", script]))
            .await
            .unwrap();
        assert_eq!((out.as_str(), exited.exit_code), ("done\n", 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_told_of_a_command_that_closes_its_outputs() {
    let (agent, container) = (Agent::start(&[]), sleeper());
    let script = "echo ready; exec >&- 2>&-; sleep 1; exit 9";
    let (running, _) = started(&agent, inside(&container, &["sh", "-c", script])).await;
    assert_eq!(running.end().await.unwrap().2.exit_code, 9);
    // It can still be signalled.
    let script = "echo ready; exec >&- 2>&-; sleep 1000";
    let (running, _) = started(&agent, inside(&container, &["sh", "-c", script])).await;
    running.ask(Step::Signal("KILL".into())).await;
    assert_eq!(running.end().await.unwrap().2.signal, "SIGKILL");
}

/// An engine drops what it still holds of a command's output 2 s after the command has ended. Which size just
/// does not fit into what lies between depends on the machine, so many are tried.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_would_drop_is_taken_in_time() {
    what_the_engine_would_drop(Agent::start(&[])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_would_drop_is_taken_in_time_where_processes_are_hidden() {
    what_the_engine_would_drop(Agent::start_by(hidden_command(), &[])).await;
}

async fn what_the_engine_would_drop(agent: Agent) {
    let container = sleeper();
    let mut commands = Vec::new();
    for size in (1_200_000..1_300_000).step_by(2_500) {
        let channel =
            agent.connect_by(None, |endpoint| endpoint.initial_stream_window_size(65_535));
        let start = inside(&container, &["head", "-c", &size.to_string(), "/dev/zero"]);
        let running = Running::start_on(channel.await, start, None).await.unwrap();
        commands.push((size, running));
    }
    // The caller reads nothing for longer than the engine waits.
    tokio::time::sleep(Duration::from_secs(5)).await;
    for (size, running) in commands {
        let (out, _, exited) = running.end().await.unwrap();
        assert_eq!((out.len(), exited.exit_code), (size, 0));
    }
}

fn sleeper() -> TestContainer {
    TestContainer::run(&["--init=false"], &["sleep", "1000"])
}
