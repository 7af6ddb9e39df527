//! `turbopanel`'s commands about networks, volumes, events, and the life and files of containers.

use std::{fs, os::unix::ffi::OsStrExt as _, process::Command};

use tempfile::TempDir;

use crate::cli_server::{Container, Server, finish};

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn unique(what: &str) -> String {
    format!("tpc-{what}-{}", std::process::id())
}

/// Removed at the end.
struct Made(&'static str, String);

impl Drop for Made {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .args([self.0, "rm", &self.1])
            .output();
    }
}

#[test]
fn networks_volumes_and_events_are_listed() {
    let server = Server::start();
    let (network, volume) = (
        Made("network", unique("net")),
        Made("volume", unique("vol")),
    );
    docker(&[
        "network",
        "create",
        "--internal",
        "--label",
        "a=b",
        &network.1,
    ]);
    let following = server.json(&["volumes", "local"]);
    assert!(following.is_array());
    docker(&["volume", "create", "--label", "a=b", &volume.1]);

    let networks = server.out(&["networks", "local"]);
    assert!(networks.starts_with("NAME"), "{networks}");
    assert!(
        networks
            .lines()
            .any(|line| line.starts_with(&network.1) && line.ends_with("yes"))
    );
    let found = |rows: serde_json::Value, name: &str| {
        let rows = rows.as_array().unwrap().clone();
        rows.into_iter().find(|row| row["name"] == name).unwrap()
    };
    let row = found(server.json(&["networks", "local"]), &network.1);
    assert_eq!(
        (&row["internal"], &row["labels"]["a"]),
        (&true.into(), &"b".into())
    );
    assert!(row["subnets"][0].as_str().unwrap().contains('/'));

    let volumes = server.out(&["volumes", "local", "--unused"]);
    assert!(
        volumes
            .lines()
            .any(|line| line.starts_with(&volume.1) && line.contains("local"))
    );
    let row = found(server.json(&["volumes", "local"]), &volume.1);
    assert!(row["mountpoint"].as_str().unwrap().ends_with("/_data"));

    let events = server.out(&["events", "local", "--since", "1m", "--type", "volume"]);
    let line = events
        .lines()
        .find(|line| line.contains(&volume.1))
        .unwrap();
    assert!(
        line.contains(" volume create ") && line.ends_with("(driver=local)"),
        "{line}"
    );
    let events = server.out(&[
        "events", "local", "--since", "1m", "--type", "volume", "--json",
    ]);
    let event = events
        .lines()
        .find(|line| line.contains(&volume.1))
        .unwrap();
    let event: serde_json::Value = serde_json::from_str(event).unwrap();
    assert_eq!(event["action"], "create");
    assert!(event["cursor"].as_str().unwrap().contains('-'));
    let missing = server.run(&["volumes", "nosuch"]);
    assert_eq!(missing.code, 1, "{missing:?}");
}

#[test]
fn a_container_is_stopped_started_and_removed() {
    let server = Server::start();
    let container = Container::run("trap 'exit 0' TERM; while :; do sleep 0.05; done");
    let named = format!("local/{}", container.0);
    let state = || docker(&["inspect", "-f", "{{.State.Status}}", &container.0]);
    let stopped = server.run(&["stop", &named, "--grace", "5s"]);
    assert!(
        stopped.code == 0 && stopped.err.contains("stopped"),
        "{stopped:?}"
    );
    assert_eq!(state(), "exited");
    assert_eq!(server.json(&["stop", &named])["already_stopped"], true);
    assert_eq!(server.json(&["start", &named])["already_running"], false);
    assert_eq!(state(), "running");
    server.out(&["restart", &named, "--grace", "0s"]);
    let refused = server.run(&["rm", &named]);
    assert!(
        refused.code == 1 && refused.err.contains("running"),
        "{refused:?}"
    );
    server.out(&["rm", &named, "--force", "--volumes"]);
    let gone = server.run(&["start", &named]);
    assert!(
        gone.code == 1 && gone.err.contains("no container"),
        "{gone:?}"
    );
}

#[test]
fn files_are_copied_in_and_out() {
    let server = Server::start();
    let container = Container::run("sleep 600");
    let at = |path: &str| format!("local/{}:{path}", container.0);
    let here = TempDir::new().unwrap();
    let own = |name: &str| here.path().join(name).display().to_string();
    let dir = here.path().join("d");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a"), vec![7; 3_000_000]).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff");
    fs::write(dir.join(odd), "odd").unwrap();
    std::os::unix::fs::symlink("a", dir.join("l")).unwrap();

    // Into a directory, and under another name.
    let copied = server.json(&["cp", &own("d"), &at("/tmp")]);
    assert_eq!(
        (&copied["entries"], &copied["bytes"]),
        (&4.into(), &3_000_003.into())
    );
    let run = |script: &str| docker(&["exec", &container.0, "sh", "-c", script]);
    assert_eq!(
        run("wc -c < /tmp/d/a; readlink /tmp/d/l; ls /tmp/d | wc -l"),
        "3000000\na\n3"
    );
    server.out(&["cp", &own("d/a"), &at("/tmp/other")]);
    assert_eq!(run("wc -c < /tmp/other"), "3000000");

    // Out again, into a directory and under another name.
    let back = here.path().join("back");
    fs::create_dir(&back).unwrap();
    server.out(&["cp", &at("/tmp/d"), &own("back")]);
    assert_eq!(fs::read(back.join("d/a")).unwrap().len(), 3_000_000);
    assert_eq!(fs::read(back.join("d").join(odd)).unwrap(), b"odd");
    assert_eq!(fs::read_link(back.join("d/l")).unwrap().to_str(), Some("a"));
    server.out(&["cp", &at("/tmp/d/a"), &own("renamed")]);
    assert_eq!(
        fs::read(here.path().join("renamed")).unwrap().len(),
        3_000_000
    );
    let there = server.run(&["cp", &at("/tmp/d"), &own("back")]);
    assert!(
        there.code == 1 && there.err.contains("there already"),
        "{there:?}"
    );

    // As an archive.
    let archive = server
        .command(&["cp", &at("/tmp/d"), "-"])
        .output()
        .unwrap();
    assert!(archive.status.success());
    let mut into = server.command(&["cp", "-", &at("/home")]);
    into.stdin(std::process::Stdio::piped());
    let done = finish(&mut into, &archive.stdout);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(run("wc -c < /home/d/a"), "3000000");

    // What is wrong is told.
    for (args, code, word) in [
        (["cp", &own("nosuch"), &at("/tmp")], 1, "nosuch"),
        (["cp", &at("/nosuch"), &own("x")], 1, "/nosuch"),
        (
            ["cp", &own("d"), &at("/nosuch/deeper/x")],
            1,
            "/nosuch/deeper",
        ),
        (["cp", &own("d"), &own("e")], 2, "AGENT/CONTAINER:PATH"),
    ] {
        let done = server.run(&args);
        assert!(done.code == code && done.err.contains(word), "{done:?}");
    }
    std::os::unix::fs::symlink("/etc/passwd", dir.join("evil")).unwrap();
    let refused = server.run(&["cp", &own("d"), &at("/tmp")]);
    assert!(
        refused.code == 1 && refused.err.contains("d/evil"),
        "{refused:?}"
    );
    // Nothing is left of what did not go well.
    let left: Vec<_> = fs::read_dir(&back)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["d"]);
}
