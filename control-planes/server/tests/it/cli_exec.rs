//! `turbopanel exec`: output, input, exit codes, and signals that reach the remote command.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Stdio},
};

use crate::cli_server::{Container, Server, eventually, finish, finish_bytes, signal, wait};

#[test]
fn exit_codes_are_passed_on() {
    let server = Server::start();
    let container = Container::run("sleep 60");
    let inside = container.at("local");
    let cases: &[(&[&str], i32)] = &[
        (&["exec", "local", "--", "true"], 0),
        (&["exec", "local", "--", "sh", "-c", "exit 42"], 42),
        (&["exec", &inside, "--", "sh", "-c", "exit 43"], 43),
        (&["exec", "local", "--", "sh", "-c", "kill -KILL $$"], 137),
        (
            &["exec", "local", "--timeout", "300ms", "--", "sleep", "30"],
            124,
        ),
        (&["exec", "local", "--", "no-such-program"], 127),
        (&["exec", "local/no-such-container", "--", "true"], 1),
    ];
    for (args, code) in cases {
        let done = server.run(args);
        assert_eq!(done.code, *code, "{args:?}: {done:?}");
    }
}

#[test]
fn bytes_go_in_and_out_as_they_are() {
    let server = Server::start();
    let container = Container::run("sleep 60");
    let input: Vec<u8> = (0..1_500_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for place in ["local", &container.at("local")] {
        let output = finish_bytes(&mut server.command(&["exec", place, "--", "cat"]), &input);
        assert!(
            output.status.success(),
            "{place}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            output.stdout == input,
            "{place}: {} bytes came back",
            output.stdout.len()
        );
    }
    let done = server.run(&[
        "exec",
        "local",
        "-e",
        "A=b=c",
        "-w",
        "/usr",
        "--",
        "sh",
        "-c",
        "echo $A; pwd; echo oops >&2",
    ]);
    assert_eq!(
        (done.out.as_str(), done.err.as_str()),
        ("b=c\n/usr\n", "oops\n")
    );
    let done = server.run(&[
        "exec",
        "local",
        "--json",
        "--",
        "sh",
        "-c",
        "printf '\\377'; exit 3",
    ]);
    assert_eq!(done.code, 3);
    assert_eq!(
        done.out,
        "{\"stream\":\"stdout\",\"base64\":\"/w==\"}\n{\"exited\":{\"exit_code\":3,\"signal\":\"\",\"timed_out\":false}}\n"
    );
}

#[test]
fn ctrl_c_reaches_the_command_and_a_second_one_kills_it() {
    let server = Server::start();
    let (mut child, _, mut out) = start(
        &server,
        "trap 'echo caught; exit 9' INT; echo $$; while :; do sleep 0.05; done",
    );
    signal(&child, "INT");
    assert_eq!(wait(&mut child, 20), Some(9));
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "caught\n");

    let (mut child, pid, mut out) = start(
        &server,
        "trap 'echo caught' INT; echo $$; while :; do sleep 0.05; done",
    );
    signal(&child, "INT");
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "caught\n");
    signal(&child, "INT");
    assert_eq!(wait(&mut child, 20), Some(130));
    eventually("the command is killed", || !runs(&pid));
}

#[test]
fn whoever_leaves_takes_the_command_along() {
    let server = Server::start();
    let (mut child, pid, _out) = start(&server, "echo $$; exec sleep 600");
    signal(&child, "TERM");
    assert_eq!(wait(&mut child, 20), Some(143));
    eventually("SIGTERM ends the command", || !runs(&pid));

    // The command says nothing more: that nobody reads is noticed all the same.
    let (mut child, pid, out) = start(&server, "echo $$; exec sleep 600");
    drop(out);
    assert_eq!(wait(&mut child, 20), Some(141));
    eventually("a closed pipe ends the command", || !runs(&pid));
}

#[test]
fn standard_input_that_ends_early_or_never_harms_nothing() {
    let server = Server::start();
    let done = finish(
        &mut server.command(&["exec", "local", "--", "head", "-c", "5"]),
        &[b'x'; 300_000],
    );
    assert_eq!((done.code, done.out.as_str()), (0, "xxxxx"));
    // A pipe that stays open: the command's end is the end.
    let mut command = server.command(&["exec", "local", "--", "echo", "done"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let held = child.stdin.take();
    assert_eq!(wait(&mut child, 20), Some(0));
    drop(held);
}

#[test]
fn standard_input_that_cannot_be_read_is_not_taken_for_its_end() {
    let server = Server::start();
    let script = "cat; echo whole; exec sleep 600";
    let mut command = server.command(&["exec", "local", "--", "sh", "-c", script]);
    command.stdin(std::fs::File::open("/").unwrap());
    let done = finish(&mut command, b"");
    assert_eq!((done.code, done.out.as_str()), (1, ""), "{done:?}");
    assert!(
        done.err
            .starts_with("error: cannot read standard input: Is a directory"),
        "{done:?}"
    );
}

/// Runs a script on the host that prints its process id first.
fn start(server: &Server, script: &str) -> (Child, String, impl std::io::BufRead + use<>) {
    let mut command = server.command(&["exec", "local", "--", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut pid = String::new();
    out.read_line(&mut pid).unwrap();
    let pid = pid.trim().to_owned();
    assert!(runs(&pid), "process {pid}");
    (child, pid, out)
}

fn runs(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}
