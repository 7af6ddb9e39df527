//! `turbopanel logs`: bytes as they were printed, readers that leave, and links that are cut.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
};

use crate::{
    cli_server::{Container, Server, finish_bytes, signal, wait},
    proxy::{Direction, Proxy},
};

#[test]
fn logs_are_what_was_printed() {
    let server = Server::start();
    let container = Container::run(
        "echo to-err >&2; sleep 0.5; head -c 50000 /dev/zero | tr '\\0' x; echo; echo last",
    );
    container.wait();
    let place = container.at("local");
    let output = finish_bytes(&mut server.command(&["logs", &place]), b"");
    let expected = format!("{}\nlast\n", "x".repeat(50_000));
    assert!(
        output.stdout == expected.as_bytes(),
        "{} bytes",
        output.stdout.len()
    );
    assert_eq!(output.stderr, b"to-err\n");

    assert_eq!(
        server.out(&["logs", &place, "--tail", "1", "--stdout"]),
        "last\n"
    );
    let done = server.run(&["logs", &place, "--stderr"]);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", "to-err\n"));

    let stamped = server.out(&["logs", &place, "--timestamps", "--tail", "1", "--stdout"]);
    let (time, line) = stamped.split_once(' ').unwrap();
    assert_eq!(
        (time.len(), line),
        ("2026-11-24T12:00:00.000000000Z".len(), "last\n")
    );
    assert_eq!(
        server.out(&["logs", &place, "--stdout", "--since", time]),
        "last\n"
    );
    assert!(
        !server
            .out(&["logs", &place, "--stdout", "--until", time])
            .contains("last")
    );
    assert_eq!(server.out(&["logs", &place, "--since", "1ms"]), "");

    let json = server.out(&["logs", &place, "--json"]);
    let rows: Vec<serde_json::Value> = json
        .lines()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    let find = |text: &str| rows.iter().find(|row| row["text"] == text).unwrap();
    assert_eq!(find("to-err")["stream"], "stderr");
    assert_eq!(find("last")["stream"], "stdout");

    // The engine's usual driver, json-file, replaces what is not UTF-8; this one does not.
    let hostile = "printf '\\001\\000\\000\\000\\177\\377\\377\\377\\n'";
    let container = Container::run_with(&["--log-driver", "local"], hostile);
    container.wait();
    let place = container.at("local");
    let output = finish_bytes(&mut server.command(&["logs", &place]), b"");
    assert_eq!(output.stdout, b"\x01\0\0\0\x7f\xff\xff\xff\n");
    let row = server.out(&["logs", &place, "--json"]);
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    assert_eq!(row["base64"], "AQAAAH////8=");
}

#[test]
fn on_one_terminal_both_outputs_stand_in_their_order() {
    let server = Server::start();
    let container = Container::run(
        "for i in 1 2 3 4; do echo out $i; sleep 0.1; echo err $i >&2; sleep 0.1; done",
    );
    container.wait();
    let command = server.command(&["logs", &container.at("local")]);
    let mut both = Command::new("sh");
    both.args(["-c", "exec \"$@\" 2>&1", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => both.env(name, value),
            None => both.env_remove(name),
        };
    }
    let output = both.output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\nout 4\nerr 4\n"
    );
}

#[test]
fn a_reader_that_leaves_ends_the_log() {
    let server = Server::start();
    // After three lines nothing more is printed, so that only the closed pipe can be noticed.
    let container = Container::run("echo 1; echo 2; echo 3; sleep 600");
    let mut command = server.command(&["logs", "-f", &container.at("local")]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(
        lines
            .by_ref()
            .take(3)
            .map(Result::unwrap)
            .collect::<Vec<_>>(),
        ["1", "2", "3"]
    );
    drop(lines);
    assert_eq!(wait(&mut child, 20), Some(0));
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "");

    // A reader that does not read, and Ctrl-C.
    let container = Container::run("yes 'a line that is printed again and again'");
    let mut command = server.command(&["logs", "-f", &container.at("local")]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 2000]).unwrap();
    signal(&child, "INT");
    assert_eq!(wait(&mut child, 20), Some(130));
}

#[test]
fn a_follow_does_not_notice_cuts() {
    const LINES: usize = 40_000;
    let server = Server::start();
    let container = Container::run(&format!("seq {LINES}; sleep 1; seq {LINES} {}", LINES + 10));
    let proxy = Proxy::to(server.address(), Direction::Down);
    let mut command = server.command(&["logs", "-f", &container.at("local")]);
    let mut child = command
        .env("TURBOPANEL_URL", &proxy.url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut cuts = 0;
    let mut count = 0;
    for line in lines {
        // The second run of numbers begins with the last of the first.
        let expected = if count < LINES { count + 1 } else { count };
        assert_eq!(line.unwrap(), expected.to_string(), "after {cuts} cuts");
        count += 1;
        if count % 4_000 == 0 {
            cuts += proxy.cut();
        }
    }
    assert_eq!((count, wait(&mut child, 20)), (LINES + 11, Some(0)));
    assert!(cuts >= 3, "{cuts} links were cut");
}

#[test]
fn a_follow_outlives_a_restart_of_its_control_plane() {
    let mut server = Server::start();
    let container = Container::run("i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done");
    let mut child: Child = server
        .command(&["logs", "-f", &container.at("local")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    for expected in 1..=20 {
        assert_eq!(next(), expected.to_string());
    }
    // The agent lives in the control plane, so the call is lost with it: the log goes on from its last line.
    assert_eq!(server.stop(), Some(0));
    server.start_again();
    for expected in 21..=150 {
        assert_eq!(next(), expected.to_string());
    }
    signal(&child, "INT");
    assert_eq!(wait(&mut child, 20), Some(130));
    assert_eq!(server.stop(), Some(0));
}
