//! The lines that `turbopanel token create` prints let a new server join, as they are printed.
//! `scripts/image-test.sh` does so with the line of `docker run`.

use std::{
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    agent_process::agent_program,
    cli_server::{Server, eventually_within},
};

/// A shell and what it started, ended with it.
struct Shell(Child);

impl Drop for Shell {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill")
            .args(["-s", "KILL", "--", &group])
            .status();
        let _ = self.0.wait();
    }
}

#[test]
fn the_plain_command_that_a_token_comes_with_joins() {
    let server = Server::start();
    let told = server.out(&["token", "create", "web-9"]);
    let (_, plain) = told.split_once("or with the program itself:\n\n").unwrap();
    let line = plain.lines().next().unwrap().trim();
    let dir = TempDir::new().unwrap();
    let program = agent_program();
    let folder = program.parent().unwrap().display();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", line])
        .env_clear()
        .env("PATH", format!("{folder}:/usr/bin:/bin"))
        // This machine has other agents: a port and a state of its own, which the line leaves open.
        .env("AGENT_PORT", "0")
        .env("AGENT_STATE_DIR", dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let _shell = Shell(shell.spawn().unwrap());
    eventually_within(Duration::from_secs(30), "the agent has joined", || {
        server.run(&["ps", "web-9"]).code == 0
    });
    assert!(server.out(&["ps", "web-9"]).starts_with("NAME"));
    let status = server.json(&["status", "web-9"]);
    assert_eq!(status["name"], "web-9");
    assert_eq!(status["mode"], "websocket");
}
