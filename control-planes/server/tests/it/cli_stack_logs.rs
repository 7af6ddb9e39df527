//! `turbopanel stack logs`, of a project that was made by hand.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use crate::cli_server::{Container, Server, signal, wait};

/// A project's containers by their services.
struct Project {
    name: String,
    containers: Vec<Container>,
}

impl Project {
    fn run(&mut self, service: &str, name: &str, script: &str) {
        let project = format!("com.docker.compose.project={}", self.name);
        let service = format!("com.docker.compose.service={service}");
        let flags = ["--name", name, "--label", &project, "--label", &service];
        self.containers.push(Container::run_with(&flags, script));
    }
}

#[test]
fn stack_logs_are_those_of_its_services() {
    let server = Server::start();
    let name = format!("tpl-{}", std::process::id());
    let mut project = Project {
        name: name.clone(),
        containers: Vec::new(),
    };
    project.run(
        "web",
        &format!("{name}-web-1"),
        "echo one; echo 'level=error msg=oh'",
    );
    project.run("web", &format!("{name}-web-2"), "echo two");
    project.run("db", &format!("my-{name}-db"), "echo three >&2");
    project.run("job", &format!("{name}_job_1"), "echo four");
    for container in &project.containers {
        container.wait();
    }
    let logs = |more: &[&str]| {
        let done = server.run(&[&["stack", "logs", "local", &name][..], more].concat());
        assert_eq!(done.code, 0, "{more:?}: {done:?}");
        let mut lines: Vec<String> = done.out.lines().map(str::to_owned).collect();
        lines.sort();
        (lines, done.err)
    };
    // As compose names them: without the project where it stands before.
    assert_eq!(
        logs(&[]),
        (
            [
                "job_1 | four",
                "web-1 | level=error msg=oh",
                "web-1 | one",
                "web-2 | two"
            ]
            .map(str::to_owned)
            .to_vec(),
            format!("my-{name}-db | three\n")
        )
    );
    assert_eq!(logs(&["job"]).0, ["job_1 | four"]);
    let (lines, err) = logs(&["db", "web", "--grep", "t"]);
    assert_eq!(lines, ["web-2 | two"]);
    assert_eq!(err, format!("my-{name}-db | three\n"));
    assert_eq!(logs(&["--level", "warn"]).0, ["web-1 | level=error msg=oh"]);
    assert_eq!(logs(&["web", "--since", "1ms"]).0, [""; 0]);
    let (last, err) = logs(&["--tail", "1"]);
    assert_eq!(last.len() + err.lines().count(), 1);
    let stamped = logs(&["job", "--timestamps"]).0;
    let (time, rest) = stamped[0].split_once(' ').unwrap();
    assert_eq!((time.len(), rest), (30, "job_1 | four"));

    // For programs, by its own name and its service.
    let rows = server.out(&["stack", "logs", "local", &name, "job", "--json"]);
    let row: serde_json::Value = serde_json::from_str(&rows).unwrap();
    assert_eq!(
        (&row["container"], &row["service"], &row["text"]),
        (
            &format!("{name}_job_1").into(),
            &"job".into(),
            &"four".into()
        )
    );
    // The same by the other command, whose names are the engine's.
    let out = server.out(&["logs", "local", "--project", &name, "--service", "job"]);
    assert_eq!(out, format!("{name}_job_1 | four\n"));

    let wrong = server.run(&["stack", "logs", "local", &name, "web", "nosuch"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (2, ""), "{wrong:?}");
    assert!(
        wrong.err.contains("nosuch") && wrong.err.contains("db, job, web"),
        "{wrong:?}"
    );
    let none = server.run(&["stack", "logs", "local", "tpl-nosuch"]);
    assert_eq!((none.code, none.out.as_str()), (0, ""), "{none:?}");
    let alone = server.run(&["logs", "local", "--service", "job"]);
    assert_eq!(alone.code, 2, "{alone:?}");

    // What comes later, of these services alone.
    let mut command = server.command(&[
        "stack", "logs", "local", &name, "web", "job", "-f", "--tail", "0",
    ]);
    let mut follow = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    project.run("db", &format!("{name}-db-2"), "echo not this; sleep 600");
    project.run(
        "web",
        &format!("{name}-web-3"),
        "while :; do echo later; sleep 0.2; done",
    );
    assert_eq!(lines.next().unwrap().unwrap(), "web-3 | later");
    signal(&follow, "INT");
    assert_eq!(wait(&mut follow, 30), Some(130));
    assert!(lines.all(|line| line.unwrap() == "web-3 | later"));
}
