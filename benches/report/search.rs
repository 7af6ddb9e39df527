//! A regular expression in 1,000,000 log lines with 10 matches: found by the agent, and by `docker logs … | grep`.
//!
//! Twice: where the agent reads the engine's files, and of a log that has more files than it reads by itself, so that it
//! comes through the engine's API. What crosses the tunnel is counted as the bytes of the messages.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use prost::Message;
use turbopanel_agent::proto::{
    LogSelection, SearchLogsRequest, log_service_client::LogServiceClient,
    search_logs_response::Event,
};

use crate::{
    agent::Agent,
    plane::Plane,
    process::{Container, docker},
    row::{Goal, Row, median},
};

const LINES: u64 = 1_000_000;
const ROUNDS: usize = 3;
const PATTERN: &str = "order [0-9]*00000 failed";

pub(crate) fn measure() -> anyhow::Result<Vec<Row>> {
    let padding = "x".repeat(70);
    let script = format!("seq {LINES} | sed 's/.*/order & failed {padding}/'");
    let container = Container::start(&script)?;
    let options = ["--log-opt=max-size=100g", "--log-opt=max-file=101"];
    let by_api = Container::start_with(&options, &script)?;
    for container in [&container, &by_api] {
        ensure!(
            docker(&["wait", &container.0])? == "0",
            "the container did not print its lines"
        );
    }
    let plane = Plane::start()?;
    let _agent = Agent::joined(&plane)?;
    let (mut files, mut api, mut grep) = (Vec::new(), Vec::new(), Vec::new());
    let mut most = 0;
    for round in 0..=ROUNDS {
        let (file, bytes) = by_agent(&plane, &container.0)?;
        let (engine, _) = by_agent(&plane, &by_api.0)?;
        let piped = by_grep(&container.0)?;
        // The first round warms the page cache up and is not counted.
        if round > 0 {
            files.push(file);
            api.push(engine);
            grep.push(piped);
            most = most.max(bytes);
        }
    }
    let speed = |seconds: Vec<f64>| LINES as f64 / median(seconds);
    let grep = speed(grep);
    Ok(vec![
        Row {
            id: "search.files",
            what: "search of 1,000,000 lines, files, by docker logs | grep",
            unit: "lines/s",
            value: speed(files),
            reference: Some(grep),
            goal: Goal::AtLeast(20.0),
        },
        Row {
            id: "search.api",
            what: "the same, through the engine's API",
            unit: "lines/s",
            value: speed(api),
            reference: Some(grep),
            goal: Goal::AtLeast(1.0),
        },
        Row {
            id: "search.bytes",
            what: "what its answer has",
            unit: "B",
            value: most as f64,
            reference: None,
            goal: Goal::AtMost(10_000.0),
        },
    ])
}

/// The time of a search, and the bytes of its answer.
fn by_agent(plane: &Plane, container: &str) -> anyhow::Result<(f64, usize)> {
    let started = Instant::now();
    let (found, scanned, bytes) = plane.runtime.block_on(async {
        let request = SearchLogsRequest {
            selection: Some(LogSelection {
                containers: vec![container.to_owned()],
                ..Default::default()
            }),
            pattern: PATTERN.to_owned(),
            ..Default::default()
        };
        let mut client = LogServiceClient::new(plane.channel());
        let mut stream = client.search_logs(request).await?.into_inner();
        let (mut found, mut scanned, mut bytes) = (0, 0, 0);
        while let Some(message) = stream.message().await? {
            bytes += message.encoded_len();
            match message.event {
                Some(Event::Matches(matches)) => found += matches.matches.len(),
                Some(Event::Summary(summary)) => scanned = summary.lines_scanned,
                None => {}
            }
        }
        anyhow::Ok((found, scanned, bytes))
    })?;
    let wall = started.elapsed().as_secs_f64();
    ensure!(found == 10, "{found} lines were found");
    ensure!(scanned >= LINES, "{scanned} lines were looked at");
    Ok((wall, bytes))
}

fn by_grep(container: &str) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut logs = Command::new("docker")
        .args(["logs", container])
        .stdout(Stdio::piped())
        .spawn()?;
    let printed = logs.stdout.take().context("docker has no output")?;
    let found = Command::new("grep").arg(PATTERN).stdin(printed).output()?;
    ensure!(logs.wait()?.success(), "docker logs failed");
    let wall = started.elapsed().as_secs_f64();
    let found = String::from_utf8(found.stdout)?;
    ensure!(found.lines().count() == 10, "grep found something else");
    Ok(wall)
}
