//! `RunCommand` with a caller that is slower than the command, or a command that is slower than its caller.

use std::time::Duration;

use tokio_stream::StreamExt;
use turbopanel_agent::proto::{
    CommandStart, run_command_request::Step, run_command_response::Step as Told,
};

use crate::{
    agent_support::{Agent, eventually},
    command_support::{Running, host, members, reason},
};

/// The command has ended, and its last output is still on its way to a caller that takes its time.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_output_waits_for_its_reader() {
    let agent = Agent::start(&[]);
    // Little is under way, so that the command's end and its reader's pauses come together.
    let channel = agent.connect_by(None, |endpoint| endpoint.initial_stream_window_size(65_535));
    let channel = channel.await;
    let start = host(&["head", "-c", "1500000", "/dev/zero"]);
    read_slowly(
        Running::start_on(channel, start, None).await.unwrap(),
        1_500_000,
    )
    .await;
}

/// Takes all of the output, of this size, with pauses from the command's end on.
pub async fn read_slowly(mut running: Running, size: usize) {
    let process = running.pid().await;
    let (mut received, mut pauses) = (0, 0);
    while let Some(answer) = running.answers.next().await {
        match answer.unwrap().step.unwrap() {
            Told::Stdout(bytes) => received += bytes.len(),
            Told::Exited(exited) => {
                assert_eq!((received, exited.exit_code), (size, 0));
                assert_eq!(pauses, 4, "it still ran when all was read");
                return;
            }
            other => panic!("{other:?}"),
        }
        // Slowly, so that it ends as soon as the rest fits into what lies between.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if pauses < 4 && members(process) == 0 {
            pauses += 1;

            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }
    panic!("no end was told");
}

/// What others of its group print goes on for a moment only, however much that is.
#[tokio::test(flavor = "multi_thread")]
async fn those_left_behind_do_not_print_for_ever() {
    let agent = Agent::start(&[]);
    for left_behind in ["yes & exit 3", "setsid yes & exit 3", "sleep 1000 & exit 3"] {
        let mut running = Running::start(&agent, host(&["sh", "-c", left_behind]))
            .await
            .unwrap();
        let group = running.pid().await;
        let (_, _, exited) = running.end().await.unwrap();
        assert_eq!(exited.exit_code, 3, "{left_behind}");
        eventually("the group is gone", || members(group) == 0);
    }
}

fn endless() -> CommandStart {
    host(&["sh", "-c", "yes & yes >&2"])
}

/// Time-outs, signals and mistakes reach a command that nobody listens to.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_reads_nothing_still_ends_it() {
    let agent = Agent::start(&[]);
    let timed = CommandStart {
        timeout: Some(Duration::from_millis(500).try_into().unwrap()),
        ..endless()
    };
    let mut running = Running::start(&agent, timed).await.unwrap();
    let group = running.pid().await;
    eventually("time is over", || members(group) == 0);
    let (_, _, exited) = running.end().await.unwrap();
    assert!(exited.timed_out && exited.signal == "SIGKILL", "{exited:?}");

    let mut running = Running::start(&agent, endless()).await.unwrap();
    let group = running.pid().await;
    running.ask(Step::Signal("SIGTERM".into())).await;
    eventually("the signal arrived", || members(group) == 0);
    let (_, _, exited) = running.end().await.unwrap();
    assert_eq!(exited.signal, "SIGTERM");

    let mut running = Running::start(&agent, endless()).await.unwrap();
    let group = running.pid().await;
    running.ask(Step::Start(endless())).await;
    eventually("the mistake ended it", || members(group) == 0);
    assert_eq!(reason(&running.end().await.unwrap_err()), "INVALID_FIELD");
}

/// Input that the command does not read keeps no signal back.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_passes_input_that_nobody_reads() {
    let agent = Agent::start(&[]);
    let mut running = Running::start(&agent, host(&["sleep", "1000"]))
        .await
        .unwrap();
    running.pid().await;
    for _ in 0..20 {
        running.ask(Step::Stdin(vec![0; 20_000].into())).await;
    }
    running.ask(Step::Signal("INT".into())).await;
    let (_, _, exited) = running.end().await.unwrap();
    assert_eq!(exited.signal, "SIGINT");
}

/// C6: commands that do not read cost the agent a bounded part of their input.
#[tokio::test(flavor = "multi_thread")]
async fn c6_input_that_nobody_reads_costs_little() {
    let agent = Agent::start(&[]);
    let mut commands = Vec::new();
    for _ in 0..8 {
        let mut running = Running::start(&agent, host(&["sleep", "1000"]))
            .await
            .unwrap();
        running.pid().await;
        let send = running.send.clone();
        let sending = tokio::spawn(async move {
            let piece = bytes::Bytes::from(vec![0; 3 << 20]);
            for _ in 0..20 {
                let step = crate::command_support::step(Step::Stdin(piece.clone()));
                if send.send(step).await.is_err() {
                    return;
                }
            }
        });
        commands.push((running, sending));
    }
    let mut last = 0;
    eventually("no more is taken", || {
        std::thread::sleep(Duration::from_secs(1));
        std::mem::replace(&mut last, memory(&agent)) == memory(&agent)
    });
    assert!(commands.iter().all(|(_, sending)| !sending.is_finished()));
    assert!(last < 96 << 10, "{last} KiB");
}

/// Resident memory, in KiB.
fn memory(agent: &Agent) -> usize {
    let status = format!("/proc/{}/status", agent.child.id());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
