//! What the settings of the agent's program do, and how it refuses those that it cannot keep.

use std::{
    fs::File,
    io::Read,
    net::TcpListener,
    os::fd::OwnedFd,
    process::{Child, Output, Stdio},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::agent_support::{command, eventually};

fn run(args: &[&str], settings: &[(&str, &str)]) -> Output {
    let mut command = command();
    command.args(args).envs(settings.iter().copied());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Killed when it is dropped.
struct Running(Child);

impl Running {
    /// An agent whose control plane is away, with these settings, and this for standard error.
    fn start(settings: &[(&str, &str)], stderr: impl Into<Stdio>) -> Self {
        let mut command = command();
        command
            .env("AGENT_PORT", "0")
            .env("AGENT_MODE", "websocket")
            .env("CONTROL_PLANE_URL", "http://127.0.0.1:1")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(stderr);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn flags_before_the_command_are_refused() {
    for args in [
        &["--token-file", "F", "run"][..],
        &["--port", "1", "health"],
        &["--log-level", "debug", "version"],
    ] {
        let output = run(args, &[]);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = said(&output);
        assert!(said.contains(args[0]) && said.contains(args[2]), "{said}");
        assert!(said.contains("write flags after the command"), "{said}");
    }
    // They count behind it, and alone.
    for args in [&["run", "--port", "x"][..], &["--port", "x"]] {
        let output = run(args, &[]);
        assert_eq!(output.status.code(), Some(78), "{args:?}");
        assert!(said(&output).contains("AGENT_PORT=\"x\""), "{args:?}");
    }
}

#[test]
fn the_mode_that_is_not_there_yet_is_told() {
    let settings = [
        ("AGENT_MODE", "durable-objects"),
        ("CONTROL_PLANE_URL", "https://plane.example"),
    ];
    let output = run(&[], &settings);
    assert_eq!(output.status.code(), Some(78));
    let said = said(&output);
    assert!(said.contains("1 setting is wrong"), "{said}");
    assert!(
        said.contains("does not speak to Durable Objects yet"),
        "{said}"
    );
    assert!(said.contains("use websocket"), "{said}");
}

/// Somebody who takes connections and says nothing does not serve, and is not waited for without end.
#[test]
fn health_of_a_port_that_hangs_is_told() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let output = run(&["health", "--port", &port], &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(
        said.contains("not serving") && said.contains(&port),
        "{said}"
    );
    assert!(said.contains("no answer within"), "{said}");
}

#[test]
fn the_log_level_chooses_what_is_logged() {
    const LINES: [(&str, &str); 3] = [
        ("DEBUG", "dialling"),
        ("INFO", "serving"),
        ("WARN", "no connection"),
    ];
    for (level, hidden) in [("debug", 0), ("info", 1), ("warn", 2)] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = || std::fs::read_to_string(file.path()).unwrap();
        let _agent = Running::start(&[("LOG_LEVEL", level)], file.reopen().unwrap());
        // A refused dial is the last of them in time.
        eventually("the dial is refused", || log().contains("no connection"));
        for (n, (name, text)) in LINES.into_iter().enumerate() {
            let shown = log()
                .lines()
                .any(|line| line.contains(name) && line.contains(text));
            assert_eq!(shown, n >= hidden, "{level} {name}:\n{}", log());
        }
    }
    // Free again when the listener is dropped.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let port = free.port().to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    let settings = [("LOG_LEVEL", "error"), ("AGENT_PORT", port.as_str())];
    let _agent = Running::start(&settings, file.reopen().unwrap());
    eventually("it serves", || {
        run(&["health", "--port", &port], &[]).status.success()
    });
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "");
}

/// A terminal: what is written to the second is read from the first.
fn terminal() -> (File, OwnedFd) {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let path = ptsname(&near, Vec::new()).unwrap();
    let far = File::options()
        .write(true)
        .open(path.to_str().unwrap())
        .unwrap();
    (File::from(near), far.into())
}

#[test]
fn colours_are_for_terminals_unless_they_are_switched_off() {
    for (settings, coloured) in [
        (&[][..], true),
        (&[("NO_COLOR", "")], true),
        (&[("NO_COLOR", "1")], false),
    ] {
        let (mut near, far) = terminal();
        let _agent = Running::start(settings, far);
        let mut log = Vec::new();
        while !log.windows(7).any(|text| text == b"serving") {
            let mut piece = [0; 1024];
            let read = near.read(&mut piece).unwrap();
            log.extend_from_slice(&piece[..read]);
        }
        let log = String::from_utf8_lossy(&log);
        assert_eq!(log.contains('\x1b'), coloured, "{settings:?}: {log:?}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let _agent = Running::start(&[], file.reopen().unwrap());
    let log = || std::fs::read_to_string(file.path()).unwrap();
    eventually("it serves", || log().contains("serving"));
    assert!(!log().contains('\x1b'), "{}", log());
}
