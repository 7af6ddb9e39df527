//! `turbopanel stats` and `turbopanel top`: tables, JSON, and a terminal on which they go on.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

use crate::{
    agent_process::AgentProcess,
    cli_server::{Container, Server, eventually, wait},
};

#[test]
fn what_containers_use_is_shown() {
    let server = Server::start();
    let container = Container::run("while :; do :; done");
    let _agent = AgentProcess::join(&server, "web-2", &server.url, &[]);
    let place = container.at("web-2");

    let one = server.json(&["stats", &place]);
    let one = one.as_array().unwrap();
    assert_eq!(one.len(), 1);
    let one = &one[0];
    assert_eq!(
        (&one["agent"], &one["id"]),
        (&"web-2".into(), &container.0.as_str().into())
    );
    assert!(one["cpu_percent"].as_f64().unwrap() > 0.0, "{one}");
    assert!(
        one["memory_working_set_bytes"].as_u64().unwrap() > 0,
        "{one}"
    );
    assert!(one["memory_limit_bytes"].is_null(), "{one}");
    assert_eq!(
        (&one["pids"], &one["source"]),
        (&1.into(), &"cgroup".into())
    );

    assert!(
        one["measured_over_seconds"].as_f64().unwrap() > 0.0,
        "{one}"
    );
    for rate in ["read_bytes_per_second", "written_bytes_per_second"] {
        assert!(one[rate].as_f64().unwrap() >= 0.0, "{rate}: {one}");
    }
    assert!(one["block_devices"].is_array(), "{one}");

    let table = server.out(&["stats", &place]);
    let mut lines = table.lines();
    assert!(lines.next().unwrap().starts_with("NAME"), "{table}");
    assert!(lines.next().unwrap().contains("none"), "{table}");
    // Without an agent it is all of them, each with its agent.
    let table = server.out(&["stats", "--no-stream"]);
    assert!(table.starts_with("AGENT"), "{table}");
    for agent in ["local", "web-2"] {
        assert!(
            table.lines().any(|line| line.starts_with(agent)),
            "{agent}: {table}"
        );
    }

    let missing = server.run(&["stats", "web-2/no-such-container"]);
    assert!(
        missing.code == 1 && missing.err.contains("no-such-container"),
        "{missing:?}"
    );
    let away = server.run(&["stats", "nobody"]);
    assert!(away.code == 1 && away.err.contains("nobody"), "{away:?}");
    assert_eq!(server.run(&["stats", "a/b/c"]).code, 2);
}

#[test]
fn how_the_host_is_doing_is_shown() {
    let server = Server::start();
    let table = server.out(&["top", "local"]);
    for word in [
        "CPU",
        "Load",
        "Memory",
        "MOUNTED AT",
        "INTERFACE",
        "RECEIVED/S",
        "PID",
        "lo",
    ] {
        assert!(table.contains(word), "{word}: {table}");
    }
    assert!(!table.contains('\u{1b}'), "{table}");
    let host = server.json(&["top", "local", "-n", "3"]);
    let memory = host["memory"]["total_bytes"].as_u64().unwrap();
    assert!(memory > 0);
    assert!(host["cpu"]["busy_ratio"].as_f64().unwrap() <= 1.0);
    let loopback = host["interfaces"].as_array().unwrap().iter();
    let loopback = loopback.clone().find(|one| one["name"] == "lo").unwrap();
    assert!(
        loopback["received_bytes_per_second"].as_f64().unwrap() >= 0.0,
        "{loopback}"
    );
    let processes = host["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 6);
    assert!(
        processes
            .iter()
            .all(|one| one["command_line"].as_array().unwrap().is_empty())
    );
    let without = server.json(&["top", "local", "-n", "0"]);
    assert_eq!(without["processes"], serde_json::json!([]));
    assert_eq!(server.run(&["top", "local", "-n", "101"]).code, 2);
    assert_eq!(server.run(&["top"]).code, 2);
    assert_eq!(server.run(&["top", "nobody"]).code, 1);
}

/// On a terminal it goes on until Ctrl-C, and leaves the terminal as it was.
#[test]
fn a_terminal_is_drawn_again_and_again() {
    let server = Server::start();
    let command = format!(
        "stty rows 12 cols 60; exec {} top local --url {} --data-dir {}",
        env!("CARGO_BIN_EXE_turbopanel"),
        server.url,
        server.dir().display()
    );
    let mut terminal = Command::new("script")
        .args(["-qefc", &command, "/dev/null"])
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = terminal.stdin.take().unwrap();
    let mut screen = terminal.stdout.take().unwrap();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let reading = {
        let seen = std::sync::Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                seen.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        })
    };
    let text = || String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    eventually("there are two frames", || {
        text().matches("\u{1b}[H").count() >= 2
    });
    keyboard.write_all(b"\x03").unwrap();
    assert_eq!(wait(&mut terminal, 30), Some(130));
    drop(keyboard);
    reading.join().unwrap();
    let text = text();
    assert!(
        text.contains("\u{1b}[?1049h") && text.trim_end().ends_with("\u{1b}[?1049l"),
        "{text:?}"
    );
    // No frame is higher than the terminal.
    let frame = text.split("\u{1b}[H").nth(1).unwrap();
    assert!(
        frame.matches('\n').count() < 12 && frame.contains("Memory"),
        "{frame:?}"
    );
}
