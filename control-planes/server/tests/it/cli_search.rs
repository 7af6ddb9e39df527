//! `turbopanel logs` of several containers, and `turbopanel search`.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use crate::cli_server::{Container, Server, signal, wait};

fn project(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

fn run(project: &str, flags: &[&str], script: &str) -> (Container, String) {
    let label = format!("com.docker.compose.project={project}");
    let flags = [&["--label", &label], flags].concat();
    let container = Container::run_with(&flags, script);
    let output = Command::new("docker")
        .args(["inspect", "-f", "{{.Name}}", &container.0])
        .output()
        .unwrap();
    let name = String::from_utf8(output.stdout).unwrap();
    let name = name.trim().trim_start_matches('/').to_owned();
    (container, name)
}

#[test]
fn logs_of_a_project_come_together() {
    let server = Server::start();
    let project = project("together");
    let (first, a) = run(
        &project,
        &["--label", "tier=front"],
        "echo one; sleep 0.3; echo ERROR three >&2",
    );
    let (second, b) = run(
        &project,
        &[],
        "sleep 0.15; echo INFO two; sleep 0.3; echo four",
    );
    first.wait();
    second.wait();
    let done = server.run(&["logs", "local", "--project", &project]);
    assert_eq!(
        done.out,
        format!("{a} | one\n{b} | INFO two\n{b} | four\n"),
        "{done:?}"
    );
    assert_eq!(done.err, format!("{a} | ERROR three\n"));
    let last = server.out(&[
        "logs",
        "local",
        "--project",
        &project,
        "--tail",
        "1",
        "--json",
    ]);
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(
        (last["container"].as_str(), last["text"].as_str()),
        (Some(b.as_str()), Some("four"))
    );
    let labels = ["--label", "tier", "--label", "com.docker.compose.project"];
    let front = server.out(&[&["logs", "local", "--stdout"][..], &labels].concat());
    assert_eq!(front, format!("{a} | one\n"));
    let two = server.run(&[
        "logs",
        &first.at("local"),
        "-c",
        &b,
        "--grep",
        "o$",
        "--grep",
        "r$",
        "--exclude",
        "two",
    ]);
    assert_eq!(two.out, format!("{b} | four\n"), "{two:?}");
    let loud = server.run(&["logs", &first.at("local"), "--level", "warn"]);
    assert_eq!(
        (loud.out.as_str(), loud.err.as_str()),
        ("", "ERROR three\n")
    );
    for (args, says) in [
        (&["logs", "local"][..], "which containers"),
        (&["logs", "local/x", "--all"], "not both"),
        (&["search", "local", "x"], "which containers"),
    ] {
        let done = server.run(args);
        assert!(
            done.code == 2 && done.err.contains(says),
            "{args:?}: {done:?}"
        );
    }
    let wrong = server.run(&["logs", &first.at("local"), "--grep", "a(b"]);
    assert!(
        wrong.code == 1 && wrong.err.contains("character 2: unclosed group"),
        "{wrong:?}"
    );
}

#[test]
fn a_follow_of_a_project_goes_on_with_what_comes() {
    let mut server = Server::start();
    let project = project("comes");
    let script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done";
    let (_first, a) = run(&project, &[], script);
    let mut child = server
        .command(&["logs", "-f", "local", "--project", &project])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    let mut count = 0;
    while count < 10 {
        count += 1;
        assert_eq!(next(), format!("{a} | {count}"));
    }
    let (_second, b) = run(&project, &[], "echo I came later; sleep 600");
    let later = format!("{b} | I came later");
    let mut come = false;
    let mut restarted = false;
    // Through a restart of the control plane, with the agent that it has built in.
    while count < 100 {
        let line = next();
        if line == later {
            assert!(!come, "it came twice");
            come = true;
            continue;
        }
        count += 1;
        assert_eq!(line, format!("{a} | {count}"));
        if come && !restarted {
            restarted = true;
            assert_eq!(server.stop(), Some(0));
            server.start_again();
        }
    }
    assert!(come && restarted);
    signal(&child, "INT");
    assert_eq!(wait(&mut child, 20), Some(130));
}

#[test]
fn lines_are_found_with_what_is_around() {
    let server = Server::start();
    let project = project("found");
    let (first, a) = run(&project, &[], "seq 1000; echo needle; seq 1001 2000");
    let (second, b) = run(&project, &[], "sleep 0.5; echo a needle, too");
    first.wait();
    second.wait();
    let bare = |out: String| -> Vec<String> {
        let cut = |line: &str| {
            line.split_once(' ')
                .map_or(line, |(_, rest)| rest)
                .to_owned()
        };
        out.lines().map(cut).collect()
    };
    let found = bare(server.out(&[
        "search",
        "local",
        "needle",
        "--project",
        &project,
        "-C",
        "1",
    ]));
    let expected = [
        format!("{a} | 1000"),
        format!("{a} | needle"),
        format!("{a} | 1001"),
        "--".to_owned(),
        format!("{b} | a needle, too"),
    ];
    assert_eq!(found, expected);
    let newest = server.run(&["search", &first.at("local"), "^1.*9$", "--limit", "2"]);
    assert_eq!(bare(newest.out), ["1989", "1999"]);
    assert!(newest.err.contains("raise --limit"), "{}", newest.err);
    let oldest = server.out(&[
        "search",
        &first.at("local"),
        "^1.*9$",
        "--limit",
        "2",
        "--oldest",
    ]);
    assert_eq!(bare(oldest), ["19", "109"]);
    let json = server.out(&["search", &second.at("local"), "too$", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (json["text"].as_str(), json["container"].as_str()),
        (Some("a needle, too"), Some(b.as_str()))
    );
    assert_eq!(
        server.out(&["search", &first.at("local"), "no such line"]),
        ""
    );
}
