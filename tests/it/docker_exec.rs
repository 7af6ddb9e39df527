//! Commands in containers, against a real engine.

use std::time::{Duration, Instant};

use turbopanel_agent::engines::docker::{
    Engine, EngineAddress, Error, Signal,
    exec::{Exec, ExecRequest},
    exec_output::Output,
};

use crate::{
    docker_away::short,
    docker_relay::Relay,
    docker_support::{TestContainer, engine, eventually},
};

fn request(container: &TestContainer, argv: &[&str]) -> ExecRequest {
    ExecRequest {
        container: container.named(),
        argv: argv.iter().map(|part| (*part).to_owned()).collect(),
        environment: Vec::new(),
        working_dir: None,
        user: None,
        tty: false,
    }
}

fn sleeper() -> TestContainer {
    TestContainer::run(&["--init=false"], &["sleep", "1000"])
}

async fn finish(mut exec: Exec) -> (String, String, i32) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    drop(exec.input);
    while let Some(output) = exec.output.next().await.unwrap() {
        match output {
            Output::Stdout(bytes) => stdout.extend(bytes),
            Output::Stderr(bytes) => stderr.extend(bytes),
        }
    }
    let code = exec.process.wait().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr), code)
}

#[tokio::test]
async fn output_and_exit_code_come_back_apart() {
    let container = sleeper();
    let mut request = request(
        &container,
        &[
            "sh",
            "-c",
            "echo out; echo err >&2; pwd; echo $A $(id -u); exit 7",
        ],
    );
    request.environment = vec![("A".into(), "b=c d".into())];
    request.working_dir = Some("/tmp".into());
    request.user = Some("1234".into());
    let exec = engine().exec(request).await.unwrap();
    assert!(exec.process.pid() > 0);
    let (stdout, stderr, code) = finish(exec).await;
    assert_eq!(stdout, "out\n/tmp\nb=c d 1234\n");
    assert_eq!(stderr, "err\n");
    assert_eq!(code, 7);
}

#[tokio::test]
async fn standard_input_is_passed_on_and_ends() {
    let container = sleeper();
    let Exec {
        mut output,
        mut input,
        process,
    } = engine().exec(request(&container, &["cat"])).await.unwrap();
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    let copy = sent.clone();
    let writer = tokio::spawn(async move {
        let mut rest = bytes::Bytes::from(copy);
        while !rest.is_empty() {
            input.write_some(&mut rest).await;
        }
    });
    let mut received = Vec::new();
    while let Some(piece) = output.next().await.unwrap() {
        match piece {
            Output::Stdout(bytes) => received.extend(bytes),
            Output::Stderr(bytes) => panic!("{bytes:?}"),
        }
    }
    writer.await.unwrap();
    assert!(received == sent, "{} of {}", received.len(), sent.len());
    assert_eq!(process.wait().await.unwrap(), 0);
}

#[tokio::test]
async fn what_cannot_run_says_why() {
    let container = sleeper();
    let engine = engine();
    let error = engine
        .exec(request(&container, &["nosuch"]))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::ProgramNotFound { .. }), "{error}");
    let error = engine
        .exec(request(&container, &["/nosuch"]))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::ProgramNotFound { .. }), "{error}");
    let error = engine
        .exec(request(&container, &["/tmp"]))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::ProgramDenied { .. }), "{error}");
    let mut lost = request(&container, &["ls"]);
    lost.working_dir = Some("/nosuch".into());
    let error = engine.exec(lost).await.unwrap_err();
    assert!(matches!(error, Error::DirectoryNotFound { .. }), "{error}");
    let mut stranger = request(&container, &["ls"]);
    stranger.user = Some("nosuch".into());
    let error = engine.exec(stranger).await.unwrap_err();
    assert!(matches!(error, Error::UserNotFound { .. }), "{error}");
    let stopped = TestContainer::create(&[], &["true"]);
    let error = engine.exec(request(&stopped, &["ls"])).await.unwrap_err();
    assert!(matches!(error, Error::StateConflict { .. }), "{error}");
    let mut nowhere = request(&stopped, &["ls"]);
    nowhere.container = "tpd-nosuch".parse().unwrap();
    let error = engine.exec(nowhere).await.unwrap_err();
    assert!(matches!(error, Error::ContainerNotFound { .. }), "{error}");
    // The words of the engine from a program are output, not an error.
    let liar = engine
        .exec(request(
            &container,
            &[
                "sh",
                "-c",
                "echo 'OCI runtime exec failed: executable file not found'; exit 126",
            ],
        ))
        .await
        .unwrap();
    assert_eq!(finish(liar).await.2, 126);
}

fn running(container: &TestContainer, what: &str) -> bool {
    let processes =
        crate::docker_support::docker(None, &["top", &container.name, "-eo", "pid,args"]);
    processes.contains(what)
}

#[tokio::test]
async fn a_signal_reaches_the_whole_process_group() {
    let container = sleeper();
    let mut exec = engine()
        .exec(request(
            &container,
            &["sh", "-c", "sleep 7001 & echo up; sleep 7001"],
        ))
        .await
        .unwrap();
    assert_eq!(
        exec.output.next().await.unwrap(),
        Some(Output::Stdout("up\n".into()))
    );
    assert!(running(&container, "sleep 7001"));
    exec.process.signal(Signal::TERM).await.unwrap();
    assert_eq!(finish(exec).await.2, 143);
    eventually("the group has ended", async || {
        !running(&container, "sleep 7001")
    })
    .await;
}

#[tokio::test]
async fn a_dropped_command_is_killed() {
    let container = sleeper();
    let engine = engine();
    let mut exec = engine
        .exec(request(
            &container,
            &[
                "sh",
                "-c",
                "trap '' TERM HUP; sleep 7002 & echo up; sleep 7002; sleep 7002",
            ],
        ))
        .await
        .unwrap();
    assert_eq!(
        exec.output.next().await.unwrap(),
        Some(Output::Stdout("up\n".into()))
    );
    drop(exec);
    eventually("the group has ended", async || {
        !running(&container, "sleep 7002")
    })
    .await;
    tokio::time::timeout(Duration::from_secs(10), engine.drained())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_command_dropped_while_the_engine_hangs_is_killed_all_the_same() {
    let container = sleeper();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let relay = Relay::start(&path, "/var/run/docker.sock");
    let engine = Engine::with_deadlines(EngineAddress::Unix(path), short());
    let mut exec = engine
        .exec(request(&container, &["sh", "-c", "echo up; sleep 7005"]))
        .await
        .unwrap();
    let up = exec.output.next().await.unwrap();
    assert_eq!(up, Some(Output::Stdout("up\n".into())));
    let mut status = engine.watch();
    relay.hang(true);
    drop(exec);
    // Where its process is hidden, the engine is asked in vain first.
    let away = status.wait_for(|status| !status.reachable);
    tokio::time::timeout(Duration::from_secs(15), away)
        .await
        .unwrap()
        .unwrap();
    relay.hang(false);
    eventually("it has ended", async || !running(&container, "sleep 7005")).await;
    tokio::time::timeout(Duration::from_secs(20), engine.drained())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_command_dropped_while_it_starts_is_killed() {
    let container = sleeper();
    let engine = engine();
    for wait in [0, 1, 2, 5, 10, 20, 40, 80] {
        let start = engine.exec(request(&container, &["sleep", "7003"]));
        let _ = tokio::time::timeout(Duration::from_millis(wait), start).await;
    }
    tokio::time::timeout(Duration::from_secs(20), engine.drained())
        .await
        .unwrap();
    eventually("all have ended", async || {
        !running(&container, "sleep 7003")
    })
    .await;
}

#[tokio::test]
async fn a_terminal_is_one_raw_stream() {
    let container = sleeper();
    let mut request = request(
        &container,
        &[
            "sh",
            "-c",
            "printf '\\001\\000\\000\\000\\177\\377\\377\\377'; echo x >&2",
        ],
    );
    request.tty = true;
    let mut exec = engine().exec(request).await.unwrap();
    let mut bytes = Vec::new();
    let began = Instant::now();
    while let Some(output) = exec.output.next().await.unwrap() {
        match output {
            Output::Stdout(piece) => bytes.extend(piece),
            Output::Stderr(piece) => panic!("{piece:?}"),
        }
    }
    assert_eq!(bytes, b"\x01\0\0\0\x7f\xff\xff\xffx\r\n");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(exec.process.wait().await.unwrap(), 0);
}

/// Runs tests of this file again where the containers' processes cannot be seen, as in an agent
/// with a process namespace of its own.
#[test]
fn hidden_commands_are_reached_from_inside_their_container() {
    let again = [
        "docker_exec::a_signal_reaches_the_whole_process_group",
        "docker_exec::a_dropped_command_is_killed",
        "docker_exec::a_command_dropped_while_the_engine_hangs_is_killed_all_the_same",
        "docker_exec::a_command_dropped_while_it_starts_is_killed",
    ];
    let output = std::process::Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .args(again)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("4 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
