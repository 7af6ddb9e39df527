//! `RunCommand` on the host: bytes, signals, time, users, and process groups that die whole.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::Code;
use turbopanel_agent::proto::{
    CommandStart, EnvironmentVariable, StdinEnd, command_service_client::CommandServiceClient,
    command_start::Target, run_command_request::Step, run_command_response::Step as Told,
};

use crate::{
    agent_support::{Agent, TOKEN, eventually},
    command_support::{Running, host, members, reason, run, step},
};

#[tokio::test(flavor = "multi_thread")]
async fn outputs_are_apart_and_codes_are_results() {
    let agent = Agent::start(&[]);
    let (out, err, exited) = run(
        &agent,
        host(&["sh", "-c", "echo out; echo err >&2; exit 3"]),
    )
    .await
    .unwrap();
    assert_eq!(
        (out.as_str(), err.as_str(), exited.exit_code),
        ("out\n", "err\n", 3)
    );
    // Never through a shell.
    let (out, _, _) = run(&agent, host(&["echo", "$HOME; `id`"])).await.unwrap();
    assert_eq!(out, "$HOME; `id`\n");
    let (_, _, exited) = run(&agent, host(&["sh", "-c", "kill -9 $$"]))
        .await
        .unwrap();
    assert_eq!((exited.exit_code, exited.signal.as_str()), (137, "SIGKILL"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_nothing_of_the_agents_environment_is_passed_on() {
    let agent = Agent::start(&[("AGENT_TOKEN", TOKEN)]);
    let mut start = host(&["env"]);
    start.environment = vec![EnvironmentVariable {
        name: "GIVEN".into(),
        value: "yes".into(),
    }];
    let (send, receive) = mpsc::channel(2);
    send.send(step(Step::Start(start))).await.unwrap();
    let mut client = CommandServiceClient::new(agent.connect(Some(TOKEN)).await);
    let answers = client
        .run_command(ReceiverStream::new(receive))
        .await
        .unwrap()
        .into_inner();
    let (out, _, _) = Running { send, answers }.end().await.unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(
        out.contains("GIVEN=yes") && out.contains("PATH=") && out.contains("HOME="),
        "{out}"
    );
    assert!(
        !out.contains(TOKEN) && !out.contains("AGENT_") && !out.contains("CONTROL_PLANE"),
        "{out}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_go_through_and_back() {
    let agent = Agent::start(&[]);
    let running = Running::start(&agent, host(&["cat"])).await.unwrap();
    let send = running.send.clone();
    let writing = tokio::spawn(async move {
        for index in 0..400u32 {
            let chunk: Vec<u8> = (0..256 * 1024u32).map(|at| (at ^ index) as u8).collect();
            send.send(step(Step::Stdin(chunk.into()))).await.unwrap();
        }
        send.send(step(Step::StdinEnd(StdinEnd {}))).await.unwrap();
    });
    let (out, _, exited) = running.end().await.unwrap();
    writing.await.unwrap();
    assert_eq!((out.len(), exited.exit_code), (400 * 256 * 1024, 0));
    for (index, chunk) in out.chunks(256 * 1024).enumerate() {
        assert!(
            chunk
                .iter()
                .enumerate()
                .all(|(at, byte)| *byte == (at as u32 ^ index as u32) as u8)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_kills_the_whole_group() {
    let agent = Agent::start(&[]);
    let mut start = host(&["sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000 & wait"]);
    start.timeout = Some(Duration::from_millis(300).try_into().unwrap());
    let mut running = Running::start(&agent, start).await.unwrap();
    let group = running.pid().await;
    let (_, _, exited) = running.end().await.unwrap();
    assert!(exited.timed_out && exited.signal == "SIGKILL", "{exited:?}");
    eventually("the group is gone", || members(group) == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_go_and_deadlines_kill_the_whole_group() {
    let agent = Agent::start(&[]);
    let script = [
        "sh",
        "-c",
        "trap '' TERM HUP; sleep 1000 & echo ready; wait",
    ];
    let mut running = Running::start(&agent, host(&script)).await.unwrap();
    let group = running.pid().await;
    eventually("it runs", || members(group) == 2);
    drop(running);
    eventually("the group is gone", || members(group) == 0);

    let mut running =
        Running::start_within(&agent, host(&script), Some(Duration::from_millis(700)))
            .await
            .unwrap();
    let group = running.pid().await;
    let status = running.end().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    eventually("the group is gone", || members(group) == 0);

    let mut running = Running::start(&agent, host(&script)).await.unwrap();
    let group = running.pid().await;
    agent.signal(rustix::process::Signal::TERM);
    eventually("the group is gone with the agent", || members(group) == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_the_group() {
    let agent = Agent::start(&[]);
    let script = [
        "sh",
        "-c",
        "trap 'echo got it; exit 7' INT; echo ready; while :; do sleep 0.05; done",
    ];
    let mut running = Running::start(&agent, host(&script)).await.unwrap();
    running.pid().await;
    let first = running.answers.next().await.unwrap().unwrap().step.unwrap();
    assert_eq!(first, Told::Stdout("ready\n".into()));
    running
        .send
        .send(step(Step::Signal("SIGINT".into())))
        .await
        .unwrap();
    let (out, _, exited) = running.end().await.unwrap();
    assert_eq!((&out[..], exited.exit_code), (&b"got it\n"[..], 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_directories_are_the_ones_asked_for() {
    let agent = Agent::start(&[]);
    let start = CommandStart {
        working_dir: "/usr".into(),
        ..host(&["pwd"])
    };
    assert_eq!(run(&agent, start).await.unwrap().0, "/usr\n");
    for user in ["nobody", "65534"] {
        let start = CommandStart {
            user: user.into(),
            ..host(&["sh", "-c", "id -u; id -G; echo $USER"])
        };
        assert_eq!(
            run(&agent, start).await.unwrap().0,
            "65534\n65534\nnobody\n"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_told_by_reason() {
    let agent = Agent::start(&[]);
    let cases = [
        (host(&["no-such-program"]), "PROGRAM_NOT_FOUND"),
        (host(&["/etc/passwd"]), "OS_ACCESS_DENIED"),
        (
            CommandStart {
                working_dir: "/no/such".into(),
                ..host(&["true"])
            },
            "DIRECTORY_NOT_FOUND",
        ),
        (
            CommandStart {
                working_dir: "relative".into(),
                ..host(&["true"])
            },
            "INVALID_FIELD",
        ),
        (
            CommandStart {
                user: "no-such-user".into(),
                ..host(&["true"])
            },
            "USER_NOT_FOUND",
        ),
        (host(&[]), "INVALID_FIELD"),
        (host(&["a\0b"]), "INVALID_FIELD"),
        (
            CommandStart {
                target: None,
                ..host(&["true"])
            },
            "INVALID_FIELD",
        ),
        (
            CommandStart {
                target: Some(Target::Container("../volumes/x".into())),
                ..host(&["true"])
            },
            "INVALID_FIELD",
        ),
        (
            CommandStart {
                target: Some(Target::Container("no-such-container".into())),
                ..host(&["true"])
            },
            "CONTAINER_NOT_FOUND",
        ),
    ];
    for (start, expected) in cases {
        let said = format!("{start:?}");
        let status = match Running::start(&agent, start).await {
            Ok(running) => running.end().await.unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(reason(&status), expected, "{said}: {status}");
    }
    let (send, receive) = mpsc::channel(1);
    send.send(step(Step::Stdin("x".into()))).await.unwrap();
    let mut client = CommandServiceClient::new(agent.connect(None).await);
    let status = client
        .run_command(ReceiverStream::new(receive))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

/// A grandchild that keeps the outputs open does not keep the call.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_behind_by_a_command_that_ends() {
    let agent = Agent::start(&[]);
    let mut running = Running::start(&agent, host(&["sh", "-c", "sleep 1000 & echo done"]))
        .await
        .unwrap();
    let group = running.pid().await;
    let (out, _, exited) = running.end().await.unwrap();
    assert_eq!((&out[..], exited.exit_code), (&b"done\n"[..], 0));
    eventually("the group is gone", || members(group) == 0);
}
