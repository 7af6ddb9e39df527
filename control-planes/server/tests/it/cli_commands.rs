//! `turbopanel`'s commands about agents, containers and tokens, and what they say when something is wrong.

use std::{os::unix::fs::PermissionsExt as _, process::Stdio};

use tempfile::TempDir;

use crate::{
    cli_server::{Container, Server, against, finish, program},
    echo::Echo,
    plane::{TestPlane, within},
};

#[test]
fn a_new_operator_finds_the_way() {
    let server = Server::start();
    for hint in [
        "turbopanel agents",
        "turbopanel exec local",
        "admin-token",
        "TURBOPANEL_URL=",
    ] {
        assert!(
            server.greeting.contains(hint),
            "{hint}: {}",
            server.greeting
        );
    }
    // No other server could use a token yet.
    assert!(!server.greeting.contains("token create"));
    let container = Container::run("sleep 60");
    let agents = server.out(&["agents"]);
    assert!(agents.starts_with("NAME    STATE       VERSION   SINCE   ADDRESS      LAST DISCONNECT\nlocal   connected   0."), "{agents}");
    let agents = server.json(&["agents"]);
    assert_eq!(
        (&agents[0]["name"], &agents[0]["integrated"]),
        (&"local".into(), &true.into())
    );

    let ps = server.out(&["ps"]);
    assert!(ps.starts_with("AGENT   NAME"), "{ps}");
    assert!(
        ps.lines()
            .any(|line| line.starts_with("local") && line.contains(&container.0[..12])),
        "{ps}"
    );
    assert!(server.out(&["ps", "local"]).starts_with("NAME"));
    let ps = server.json(&["ps", "local", "--all"]);
    let found = ps
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["id"] == container.0)
        .unwrap();
    assert_eq!(
        (&found["agent"], &found["state"]),
        (&"local".into(), &"running".into())
    );

    let status = server.out(&["status", "local"]);
    assert!(
        status.contains("Engine          Docker ") && status.contains("Memory"),
        "{status}"
    );
    let status = server.json(&["status", "local"]);
    assert_eq!(
        (&status["mode"], &status["engine"]["reachable"]),
        (&"integrated".into(), &true.into())
    );
    assert!(status["host"]["memory_total_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let mut server = Server::start();
    let made = server.run(&["token", "create", "web-2"]);
    assert!(
        made.err.contains("listens on loopback only")
            && made.err.contains("--listen 0.0.0.0:18282"),
        "{made:?}"
    );
    let one_line = made.out.replace(" \\\n   ", "");
    let url = format!(
        "-e AGENT_MODE=websocket -e CONTROL_PLANE_URL={} -e AGENT_TOKEN=",
        server.url
    );
    assert!(
        one_line.contains("docker run -d --name turbopanel-agent -p 18284:18284 "),
        "{one_line}"
    );
    assert!(one_line.contains(&url), "{one_line}");
    assert!(one_line.contains(" -e AGENT_NAME=web-2 -v /var/run/docker.sock:/var/run/docker.sock turbopanel/agent:latest\n"));

    let made = server.json(&["token", "create", "web-3"]);
    let keys: Vec<_> = made.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["agent", "token"]);
    assert_eq!(made["agent"], "web-3");

    let secret = server.json(&["token", "create", "ops", "--admin"])["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let as_ops = |args: &[&str]| {
        let mut command = program();
        finish(
            command
                .args(args)
                .env("TURBOPANEL_URL", &server.url)
                .env("TURBOPANEL_TOKEN", &secret)
                .stdin(Stdio::null()),
            b"",
        )
    };
    assert_eq!(as_ops(&["agents"]).code, 0);
    let listed = server.json(&["token", "list"]);
    let ops = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == "ops")
        .unwrap();
    assert_eq!(ops["kind"], "admin");
    assert!(!server.out(&["token", "list"]).contains(&secret));
    server.out(&["token", "revoke", ops["id"].as_str().unwrap()]);
    let refused = as_ops(&["agents"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.starts_with("error: ") && refused.err.contains("revoked"),
        "{refused:?}"
    );
    assert!(!refused.err.contains(&secret), "the secret is told");
    assert!(server.out(&["token", "list", "--all"]).contains("revoked"));

    server.out(&["agents", "remove", "web-2"]);
    assert!(!server.out(&["agents"]).contains("web-2"));
    assert_eq!(server.stop(), Some(0), "SIGTERM ends it in order");
}

#[test]
fn what_is_wrong_is_told_in_a_sentence_with_its_mend() {
    let server = Server::start();
    server.out(&["token", "create", "web-2", "--json"]);
    server.out(&["token", "create", "web-3", "--json"]);
    let tokens = server.json(&["token", "list"]);
    let mut tokens = tokens.as_array().unwrap().iter();
    let revoked = tokens.find(|row| row["name"] == "web-3").unwrap();
    server.out(&["token", "revoke", revoked["id"].as_str().unwrap()]);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["status", "nobody"], 1, "there is no agent nobody"),
        (&["status", "web-3"], 3, "`turbopanel token create web-3`"),
        (&["status", "web-2"], 3, "agent web-2 is not connected"),
        (
            &["exec", "web-2", "--", "true"],
            3,
            "agent web-2 is not connected",
        ),
        (&["logs", "local/no-such-container"], 1, "no-such-container"),
        (&["logs", "local/..%2Fx"], 1, "container"),
        (&["status", "a?b"], 2, "is not an agent's name"),
        (&["token", "revoke", "no-such-token"], 1, "no-such-token"),
        (&["agents", "remove", "local"], 1, "local"),
        (&["exec", "local"], 2, "Usage"),
    ];
    for (args, code, says) in cases {
        let done = server.run(args);
        assert_eq!(done.code, *code, "{args:?}: {done:?}");
        assert!(
            done.err.starts_with("error: ") && done.err.contains(says),
            "{args:?}: {done:?}"
        );
        assert!(
            !done.err.contains("Status {") && !done.err.contains("code:"),
            "{args:?}: {done:?}"
        );
        assert_eq!(done.out, "", "{args:?}");
    }
    let ps = server.run(&["ps"]);
    assert_eq!(ps.code, 0, "{ps:?}");
    assert!(
        ps.err.contains("agent web-2 is not connected; never seen"),
        "{ps:?}"
    );
}

#[test]
fn who_and_where_are_found_or_asked_for() {
    let server = Server::start();
    let at = |url: &str| {
        let mut command = program();
        command
            .args(["agents"])
            .env("TURBOPANEL_URL", url)
            .stdin(Stdio::null());
        command
    };
    // Nobody listens on the discard port of this machine.
    let done = finish(
        at("http://127.0.0.1:9").env("TURBOPANEL_TOKEN", "tpc_x_y"),
        b"",
    );
    assert_eq!(done.code, 3);
    assert!(
        done.err
            .contains("no control plane answers at http://127.0.0.1:9")
            && done.err.contains("turbopanel serve"),
        "{done:?}"
    );

    let done = finish(&mut at("http://panel.invalid:1"), b"");
    assert_eq!(done.code, 1);
    assert!(
        done.err.contains("no token for http://panel.invalid:1")
            && done.err.contains("--token-file"),
        "{done:?}"
    );

    let done = finish(at("ftp://x").env("TURBOPANEL_TOKEN", "x"), b"");
    assert_eq!(done.code, 2);

    let empty = TempDir::new().unwrap();
    let done = finish(
        at(&server.url).env("TURBOPANEL_DATA_DIR", empty.path()),
        b"",
    );
    assert!(
        done.code == 1 && done.err.contains("--data-dir"),
        "{done:?}"
    );

    let done = finish(
        at(&server.url).env("TURBOPANEL_TOKEN", "canary-canary"),
        b"",
    );
    assert_eq!(done.code, 1);
    assert!(
        done.err.contains("TURBOPANEL_TOKEN") && !done.err.contains("canary"),
        "{done:?}"
    );

    let file = server.dir().join("admin-token");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let done = finish(
        at(&server.url)
            .env("TURBOPANEL_DATA_DIR", empty.path())
            .args(["--token-file"])
            .arg(&file),
        b"",
    );
    assert_eq!(done.code, 0, "{done:?}");
}

/// The addresses of this machine, other than loopback.
fn own_addresses() -> Vec<std::net::Ipv4Addr> {
    let output = std::process::Command::new("hostname").arg("-I").output();
    let listed = String::from_utf8(output.unwrap().stdout).unwrap();
    let addresses = listed.split_whitespace();
    addresses.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn a_token_is_not_sent_in_the_clear_unless_it_is_meant() {
    let dir = TempDir::new().unwrap();
    let server = Server::start_with(dir, "0.0.0.0:0", &[]);
    let token = std::fs::read_to_string(server.dir().join("admin-token")).unwrap();
    let (_, port) = server.url.rsplit_once(':').unwrap();
    let agents = |host: &str, allow: &str| {
        let mut command = program();
        command
            .args(["agents"])
            .env("TURBOPANEL_URL", format!("http://{host}:{port}"))
            .env("TURBOPANEL_TOKEN", token.trim())
            .env("TURBOPANEL_ALLOW_PLAINTEXT", allow)
            .stdin(Stdio::null());
        finish(&mut command, b"")
    };
    let done = agents("127.0.0.1", "0");
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    for address in own_addresses() {
        let done = agents(&address.to_string(), "");
        if turbopanel_tunnel::is_private(address.into()) {
            assert_eq!(done.code, 0, "{done:?}");
            assert!(done.err.starts_with("warning: http://"), "{done:?}");
        } else {
            assert_eq!(done.code, 2, "{done:?}");
            assert!(
                done.err.contains("public address")
                    && done.err.contains("TURBOPANEL_ALLOW_PLAINTEXT=1"),
                "{done:?}"
            );
        }
        let done = agents(&address.to_string(), "1");
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{address}");
    }
    // A documentation address: nobody is there, and it is not tried.
    let done = agents("203.0.113.7", "");
    assert_eq!(done.code, 2, "{done:?}");
}

#[test]
fn a_line_that_the_new_server_would_refuse_is_told() {
    let url = ["--public-url", "http://203.0.113.7:18282"];
    let server = Server::start_with(TempDir::new().unwrap(), "127.0.0.1:0", &url);
    let made = server.run(&["token", "create", "web-2"]);
    assert!(made.err.contains("AGENT_ALLOW_PLAINTEXT=1"), "{made:?}");
    let url = ["--public-url", "https://203.0.113.7:18282"];
    let server = Server::start_with(TempDir::new().unwrap(), "127.0.0.1:0", &url);
    let made = server.run(&["token", "create", "web-2"]);
    assert_eq!((made.code, made.err.as_str()), (0, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let plane = TestPlane::start().await;
    let (_agent, _) = plane.join("web-2", &Echo::default()).await;
    let mut command = against(&plane, &["status", "web-2"]);
    let running = tokio::task::spawn_blocking(move || finish(&mut command, b""));
    let done = within(60, running).await.unwrap();
    assert_eq!(done.code, 3, "{done:?}");
    assert!(
        done.err
            .starts_with("error: no answer came within 20 s\nhint: "),
        "{done:?}"
    );
}

#[test]
fn every_command_has_examples() {
    let commands: &[&[&str]] = &[
        &["serve"],
        &["agents"],
        &["agents", "remove"],
        &["status"],
        &["ps"],
        &["stats"],
        &["top"],
        &["logs"],
        &["exec"],
        &["token", "create"],
        &["token", "list"],
        &["token", "revoke"],
    ];
    for command in commands {
        let done = finish(program().args(*command).arg("--help"), b"");
        assert!(
            done.out.contains("Examples:\n  turbopanel"),
            "{command:?}: {}",
            done.out
        );
    }
}

#[test]
fn shells_complete() {
    for shell in ["bash", "zsh", "fish"] {
        let done = finish(program().args(["completions", shell]), b"");
        assert!(done.code == 0 && done.out.contains("turbopanel"), "{shell}");
    }
}

#[test]
fn a_port_in_use_is_told() {
    let server = Server::start();
    let dir = TempDir::new().unwrap();
    let address = server.url.trim_start_matches("http://");
    let done = finish(
        program()
            .args(["serve", "--listen", address, "--data-dir"])
            .arg(dir.path()),
        b"",
    );
    assert!(done.code == 1 && done.err.contains("in use"), "{done:?}");
}
