//! The agent's command line: settings that are wrong, refusals, health, and stopping.

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::Output,
    time::Duration,
};

use crate::agent_support::{Agent, TOKEN, command, eventually};

fn run(args: &[&str], settings: &[(&str, &str)]) -> Output {
    command()
        .args(args)
        .envs(settings.iter().copied())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn all_wrong_settings_are_told_at_once() {
    let output = run(&[], &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        said.contains("AGENT_MODE") && said.contains("CONTROL_PLANE_URL"),
        "{said}"
    );
    let output = run(
        &["--log-level", "loud"],
        &[
            ("AGENT_MODE", "carrier-pigeon"),
            ("AGENT_PORT", "99999"),
            ("AGENT_TOKEN", "two words"),
            ("CONTROL_PLANE_URL", "https://me:canary-pw@plane"),
        ],
    );
    let said = text(&output.stderr);
    for name in [
        "AGENT_MODE",
        "AGENT_PORT",
        "AGENT_TOKEN",
        "CONTROL_PLANE_URL",
        "LOG_LEVEL",
    ] {
        assert!(said.contains(name), "{name}: {said}");
    }
    assert!(
        !said.contains("two words") && !said.contains("canary-pw"),
        "{said}"
    );
    assert_eq!(run(&["--no-such-flag"], &[]).status.code(), Some(2));
}

#[test]
fn help_and_version_are_there() {
    let help = text(&run(&["--help"], &[]).stdout);
    for name in [
        "AGENT_MODE",
        "CONTROL_PLANE_URL",
        "AGENT_TOKEN_FILE",
        "health",
        "18284",
    ] {
        assert!(help.contains(name), "{name}: {help}");
    }
    assert!(text(&run(&["version"], &[]).stdout).starts_with("turbopanel-agent 0."));
}

#[test]
fn health_tells_whether_it_serves() {
    let agent = Agent::start(&[("AGENT_TOKEN", TOKEN)]);
    let port = agent.port.to_string();
    assert_eq!(
        run(&["health"], &[("AGENT_PORT", &port)]).status.code(),
        Some(0)
    );
    drop(agent);
    let output = run(&["health", "--port", &port], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not serving"));
}

#[test]
fn a_port_in_use_is_told_with_the_mend() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(
        &[],
        &[
            ("AGENT_MODE", "websocket"),
            ("CONTROL_PLANE_URL", "http://127.0.0.1:1"),
            ("AGENT_PORT", &port),
        ],
    );
    assert_eq!(output.status.code(), Some(69));
    assert!(
        text(&output.stderr).contains("set AGENT_PORT"),
        "{}",
        text(&output.stderr)
    );
}

/// A control plane that answers every upgrade with these bytes and closes.
fn refusing(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let mut tcp = tcp.unwrap();
            let mut request = [0; 2048];
            let _ = tcp.read(&mut request);
            let _ = tcp.write_all(answer.as_bytes());
        }
    });
    url
}

/// Each refusal is one line: what was tried, what came back, what to do. The token is never in it (A3).
#[test]
fn a3_refusals_are_one_line_each_and_the_token_never_shows() {
    for (answer, expected) in [
        (
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 13\r\n\r\nunknown token",
            "check the token",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
            "create a new one",
        ),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "not a control plane's",
        ),
        (
            "HTTP/1.1 404 Not Found\r\nturbopanel-mode: durable-objects\r\ncontent-length: 0\r\n\r\n",
            "AGENT_MODE=durable-objects",
        ),
        (
            "HTTP/1.1 503 Busy\r\nretry-after: 9\r\ncontent-length: 0\r\n\r\n",
            "tried again later",
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
            "redirects",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", "proxies in between"),
    ] {
        let url = refusing(answer);
        let agent = Agent::start(&[("CONTROL_PLANE_URL", &url), ("AGENT_TOKEN", TOKEN)]);
        agent.logged("no connection");
        let log = agent.log();
        let line = log
            .lines()
            .find(|line| line.contains("no connection"))
            .unwrap();
        assert!(line.contains(&url) && line.contains(expected), "{line}");
        assert!(!log.contains(TOKEN), "{log}");
        let argv = std::fs::read(format!("/proc/{}/cmdline", agent.child.id())).unwrap();
        assert!(!text(&argv).contains(TOKEN));
    }
}

#[test]
fn a_token_comes_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{TOKEN}\n")).unwrap();
    let path = file.path().to_str().unwrap();
    let agent = Agent::start(&[("AGENT_TOKEN_FILE", path)]);
    // Behind a token the port answers everybody; without one, this machine only.
    assert!(
        agent
            .log()
            .contains(&format!("address=[::]:{}", agent.port)),
        "{}",
        agent.log()
    );
    drop(agent);
    let open = Agent::start(&[]);
    assert!(
        open.log()
            .contains(&format!("address=127.0.0.1:{}", open.port))
    );
    assert!(open.log().contains("AGENT_TOKEN is not set"));
}

/// A control plane that accepts and closes at once still sees the agent back off.
#[test]
fn a_control_plane_that_closes_at_once_sees_backing_off() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    let agent = Agent::start(&[("CONTROL_PLANE_URL", &url)]);
    let mut dials = 0;
    let until = std::time::Instant::now() + Duration::from_secs(3);
    while std::time::Instant::now() < until {
        if listener.accept().is_ok() {
            dials += 1;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // At least 0.25 s lie between two dials, so that there cannot be more than this.
    assert!((1..=13).contains(&dials), "{dials} dials in 3 s");
    eventually("it is told", || {
        agent.log().contains("did not answer as a WebSocket server")
    });
}
