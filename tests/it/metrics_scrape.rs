//! `/metrics`: who is let in, and whether every line is as Prometheus' text format says.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use turbopanel_agent::proto::{GetStatusRequest, agent_service_client::AgentServiceClient};

use crate::{
    agent_support::{Agent, TOKEN},
    docker_support::TestContainer,
};

/// Runs curl; the status, the content type, and the body.
fn curl(agent: &Agent, path: &str, arguments: &[&str]) -> (String, String, String) {
    let url = format!("http://127.0.0.1:{}{path}", agent.port);
    let output = Command::new("curl")
        .args([
            "-s",
            "--max-time",
            "60",
            "-w",
            "\n%{http_code} %{content_type}",
            &url,
        ])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, end) = text.rsplit_once('\n').unwrap();
    let (status, kind) = end.split_once(' ').unwrap();
    (status.to_owned(), kind.to_owned(), body.to_owned())
}

fn authorization() -> String {
    format!("Authorization: Bearer {TOKEN}")
}

/// A sample's name and labels.
type Key = (String, Vec<(String, String)>);
/// Each with its value.
type Samples = BTreeMap<Key, f64>;

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(fits)
}

/// Parses the text format 0.0.4 and holds it to what the format demands and promtool asks for.
fn parse(text: &str) -> Samples {
    let mut samples = Samples::new();
    let mut families = BTreeSet::new();
    let (mut helped, mut current) = (None, None::<(String, String)>);
    assert!(text.ends_with('\n') && !text.contains('\r'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(is_name(name) && help.ends_with('.'), "{line}");
            assert!(
                families.insert(name.to_owned()),
                "a family comes twice: {line}"
            );
            helped = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(helped.as_deref(), Some(name), "{line}");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            let total = name.ends_with("_total");
            assert_eq!(total, kind == "counter", "counters end in _total: {line}");
            current = Some((name.to_owned(), kind.to_owned()));
        } else {
            let (name, labels, value) = sample(line);
            let (family, kind) = current.as_ref().unwrap();
            assert_eq!(name, *family, "{line}");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(
                value.is_finite() && (kind != "counter" || value >= 0.0),
                "{line}"
            );
            assert!(
                samples.insert((name, labels), value).is_none(),
                "twice: {line}"
            );
        }
    }
    samples
}

fn sample(line: &str) -> (String, Vec<(String, String)>, &str) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            assert!(is_name(label), "{line}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().unwrap() {
                    (at, '"') => break at + 1,
                    (_, '\\') => value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        other => panic!("\\{other} in {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert!(labels.iter().all(|(known, _)| known != label), "{line}");
            labels.push((label.to_owned(), value));
            rest = &after[end..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap();
    }
    (name.to_owned(), labels, rest.strip_prefix(' ').unwrap())
}

#[test]
fn every_line_is_as_the_format_says() {
    let container = TestContainer::run(&[], &["sleep", "600"]);
    let agent = Agent::start(&[("AGENT_TOKEN", TOKEN), ("AGENT_NAME", "web-7")]);
    let (status, kind, text) = curl(&agent, "/metrics", &["-H", &authorization()]);
    assert_eq!(
        (&*status, &*kind),
        ("200", "text/plain; version=0.0.4; charset=utf-8")
    );
    let samples = parse(&text);
    let one = |name: &str| {
        let found = samples.iter().find(|((known, _), _)| known == name);
        *found.unwrap_or_else(|| panic!("no {name} in {text}")).1
    };
    for name in [
        "node_cpu_seconds_total",
        "node_memory_MemAvailable_bytes",
        "node_filesystem_avail_bytes",
        "node_network_receive_bytes_total",
        "node_disk_read_bytes_total",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ] {
        assert!(one(name) > 0.0, "{name}");
    }
    assert!(one("node_load1") >= 0.0);
    let is_mine = |labels: &[(String, String)]| {
        labels
            .iter()
            .any(|(label, value)| label == "name" && *value == container.name)
    };
    let of = |name: &str| {
        let mut found = samples
            .iter()
            .filter(|((known, labels), _)| known == name && is_mine(labels));
        let (_, value) = found
            .next()
            .unwrap_or_else(|| panic!("no {name} in {text}"));
        *value
    };
    assert!(of("container_memory_working_set_bytes") > 0.0);
    assert!(of("container_cpu_usage_seconds_total") > 0.0);
    assert_eq!(of("container_network_receive_bytes_total"), 0.0);
    assert_eq!(of("container_threads"), 1.0);
    assert_eq!(one("turbopanel_agent_connected"), 0.0);
    assert_eq!(one("turbopanel_agent_engine_reachable"), 1.0);
    assert!(
        text.contains("turbopanel_agent_info{name=\"web-7\","),
        "{text}"
    );
    assert!(!text.contains(TOKEN));
    // Over HTTP/2, beside gRPC, and without a body for HEAD.
    let (status, _, text) = curl(
        &agent,
        "/metrics",
        &["-H", &authorization(), "--http2-prior-knowledge"],
    );
    assert_eq!(status, "200");
    parse(&text);
    let (status, _, head) = curl(&agent, "/metrics", &["-H", &authorization(), "--head"]);
    assert!(status == "200" && !head.contains("node_load1"), "{head}");
}

#[test]
fn nobody_is_told_without_the_token() {
    let agent = Agent::start(&[("AGENT_TOKEN", TOKEN)]);
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        for header in [
            "X-None: x",
            "Authorization: Bearer wrong",
            "Authorization: Basic eDp5",
        ] {
            for path in ["/metrics", "/", "/grpc.health.v1.Health/Watch"] {
                let (status, _, text) = curl(&agent, path, &["-H", header, protocol]);
                assert_eq!(status, "401", "{protocol} {header} {path}: {text}");
                assert!(!text.contains("node_"), "{text}");
            }
        }
        let right = ["-H", &authorization(), protocol];
        let (status, ..) = curl(&agent, "/metrics/", &right);
        assert_ne!(status, "200 ");
    }
    let right = ["-H", &authorization()];
    assert_eq!(curl(&agent, "/nothing", &right).0, "404");
    // Services are gRPC's alone.
    let path = "/turbopanel.agent.v1.AgentService/GetStatus";
    assert_eq!(curl(&agent, path, &right).0, "404");
    let many = format!("X-Long: {}", "x".repeat(20_000));
    let (status, ..) = curl(&agent, "/metrics", &["-H", &authorization(), "-H", &many]);
    assert_eq!(status, "431");
    assert!(!agent.log().contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_and_connections_over_http1_are_let_go() {
    let agent = Agent::start(&[("AGENT_TOKEN", TOKEN)]);
    let counted = |agent: &Agent, name: &str| {
        let (_, _, text) = curl(agent, "/metrics", &["-H", &authorization()]);
        let samples = parse(&text);
        samples[&(name.to_owned(), Vec::new())]
    };
    let before = counted(&agent, "turbopanel_agent_calls_total");
    let sent = counted(&agent, "turbopanel_agent_sent_bytes_total");
    let mut client = AgentServiceClient::new(agent.connect(Some(TOKEN)).await);
    for _ in 0..3 {
        client.get_status(GetStatusRequest {}).await.unwrap();
    }
    assert_eq!(
        counted(&agent, "turbopanel_agent_calls_total"),
        before + 3.0
    );
    assert!(counted(&agent, "turbopanel_agent_sent_bytes_total") > sent + 300.0);
    let request = turbopanel_agent::proto::WatchStatusRequest::default();
    let mut watched = client.watch_status(request).await.unwrap().into_inner();
    watched.message().await.unwrap();
    assert_eq!(counted(&agent, "turbopanel_agent_streams"), 1.0);
    drop(watched);
    crate::agent_support::eventually("the stream is counted off", || {
        counted(&agent, "turbopanel_agent_streams") == 0.0
    });

    // One that begins a request and never ends it, and one that asks for nothing more.
    for head in [
        "GET /metrics HTTP/1.1\r\nHost: x\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut slow = TcpStream::connect(("127.0.0.1", agent.port)).await.unwrap();
        slow.write_all(head.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let reading = slow.read_to_end(&mut rest);
        let ended = tokio::time::timeout(Duration::from_secs(90), reading).await;
        assert!(ended.is_ok(), "it is not closed: {head:?}");
    }
}
