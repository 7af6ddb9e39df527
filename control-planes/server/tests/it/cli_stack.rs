//! `turbopanel stack`, with the host's compose plugin.

use std::{fs, process::Command};

use tempfile::TempDir;

use crate::cli_server::{IMAGE, Server, signal, wait};

/// A stack's name, which is gone at the end.
struct Name(String);

impl Name {
    fn new(what: &str) -> Self {
        Self(format!("tpc-{what}-{}", std::process::id()))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let filter = format!("label=com.docker.compose.project={}", self.0);
        let script = format!(
            "docker rm -fv $(docker ps -aq --filter {filter}); docker network rm $(docker network ls -q --filter {filter})"
        );
        let _ = Command::new("sh").args(["-c", &script]).output();
    }
}

#[test]
fn stack_a_stack_is_deployed_from_files() {
    let server = Server::start();
    let stack = Name::new("deploy");
    let name = stack.0.as_str();
    let home = TempDir::new().unwrap();
    let at = |file: &str| home.path().join(file).to_str().unwrap().to_owned();
    let text = format!(
        "services:\n  web:\n    image: {IMAGE}\n    command: [sleep, '${{HOW_LONG}}']\n    stop_grace_period: 0s\n    environment: {{SECRET: canary}}\n    volumes: ['./conf/web.conf:/web.conf']\n"
    );
    fs::write(at("compose.yaml"), &text).unwrap();
    fs::write(at("prod.env"), "HOW_LONG=600\n").unwrap();
    fs::create_dir(at("conf")).unwrap();
    fs::write(at("conf/web.conf"), "listen\n").unwrap();
    let (compose, env, conf) = (at("compose.yaml"), at("prod.env"), at("conf"));
    let files = ["-f", &compose, "--env-file", &env, "--with", &conf];

    let config = server.out(&[&["stack", "config", "local", name][..], &files].concat());
    assert!(
        config.contains("HOW_LONG") && !config.contains("canary"),
        "{config}"
    );
    let config =
        server.json(&[&["stack", "config", "local", name, "--values"][..], &files].concat());
    let web = &config["config"]["services"]["web"];
    assert_eq!(
        (&web["command"][1], &web["environment"]["SECRET"]),
        (&"600".into(), &"canary".into())
    );

    let up = server.run(&[&["stack", "up", "local", name][..], &files].concat());
    assert_eq!((up.code, up.out.as_str()), (0, ""), "{up:?}");
    assert!(
        up.err
            .contains(&format!("Container {name}-web-1: Started\n")),
        "{up:?}"
    );
    assert!(up.err.ends_with(&format!("stack {name} is up\n")), "{up:?}");
    let again = server.run(&["stack", "up", "local", name]);
    assert!(
        again.err.ends_with("is up; nothing had to be changed\n"),
        "{again:?}"
    );

    let listed = server.json(&["stack", "ls", "local"]);
    let listed = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|stack| stack["name"] == name);
    let listed = listed.unwrap();
    assert_eq!(
        (&listed["running"], &listed["kept"]),
        (&1.into(), &true.into())
    );
    let table = server.out(&["stack", "ls", "local"]);
    assert!(
        table.starts_with("NAME ") && table.contains(name),
        "{table}"
    );
    let containers = server.json(&["stack", "ps", "local", name]);
    assert_eq!(
        (&containers[0]["service"], &containers[0]["state"]),
        (&"web".into(), &"running".into())
    );
    assert!(server.out(&["stack", "ps", "local", name]).contains("web"));
    let restarted = server.run(&["stack", "restart", "local", name, "web"]);
    assert!(restarted.err.ends_with("was restarted\n"), "{restarted:?}");

    // A mistake, where it is.
    fs::write(at("compose.yaml"), text + "    portz: 1\n").unwrap();
    for command in ["config", "up", "pull"] {
        let wrong = server.run(&[&["stack", command, "local", name][..], &files].concat());
        assert_eq!(wrong.code, 1, "{wrong:?}");
        assert!(
            wrong.err.contains("error: compose.yaml, line 8: "),
            "{wrong:?}"
        );
        assert!(wrong.err.contains("'portz' not allowed"), "{wrong:?}");
    }
    let events = server.out(&[
        "stack",
        "down",
        "local",
        name,
        "--volumes",
        "--forget",
        "--json",
    ]);
    let last: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(last["operation"]["state"], "succeeded");
    assert_eq!(
        server.json(&["stack", "ps", "local", name]),
        serde_json::json!([])
    );
    let gone = server.run(&["stack", "up", "local", name]);
    assert!(
        gone.code == 1 && gone.err.contains("send them with the call"),
        "{gone:?}"
    );
    for wrong in [
        &["stack", "up", "local", "Not-A-Name", "-f", &compose][..],
        &["stack", "up", "local", name, "-f", "/nowhere/compose.yaml"],
        &[
            "stack",
            "up",
            "local",
            name,
            "-f",
            &compose,
            "--with",
            "/etc/hosts",
        ],
        &["stack", "up", "local", name, "--env-file", &env],
        &["stack", "up", "local", name, "--wait-timeout", "5m"],
    ] {
        let refused = server.run(wrong);
        assert!(
            (1..=2).contains(&refused.code) && refused.out.is_empty(),
            "{wrong:?}: {refused:?}"
        );
    }
}

#[test]
fn stack_ctrl_c_cancels_it_and_detached_ones_are_found_again() {
    let server = Server::start();
    let stack = Name::new("cancel");
    let name = stack.0.as_str();
    let home = TempDir::new().unwrap();
    let compose = home.path().join("compose.yaml");
    let text = format!(
        "services: {{web: {{image: {IMAGE}, command: [sleep, '600'], stop_grace_period: 0s, healthcheck: {{test: ['CMD', 'false'], interval: 1s, retries: 1000}}}}}}"
    );
    fs::write(&compose, text).unwrap();
    let up = [
        "stack",
        "up",
        "local",
        name,
        "-f",
        compose.to_str().unwrap(),
        "--wait",
    ];
    let mut child = server
        .command(&up)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    told.find(|line| line.as_ref().unwrap().ends_with(": Waiting"))
        .unwrap()
        .unwrap();
    signal(&child, "INT");
    assert_eq!(wait(&mut child, 30), Some(1));
    let last = told.map_while(Result::ok).last().unwrap();
    assert!(last.contains("cancelled"), "{last}");

    let begun = server.out(&[&up[..], &["--detach"]].concat());
    let id = begun.trim();
    assert_eq!(id.len(), 32, "{begun}");
    let running = server.json(&["operations", "list", "local", "--running"]);
    assert_eq!(
        (&running[0]["id"], &running[0]["kind"]),
        (&id.into(), &"stack.up".into())
    );
    server.out(&["operations", "cancel", "local", id]);
    let watched = server.run(&["operations", "watch", "local", id]);
    assert_eq!(watched.code, 1, "{watched:?}");
    assert!(watched.err.contains("cancelled"), "{watched:?}");
    server.out(&["stack", "down", "local", name]);
}
