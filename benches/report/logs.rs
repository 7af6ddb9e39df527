//! 1,000,000 log lines of 100 bytes from a container to a caller, by the engine's API: through the tunnel, by a raw
//! read of the engine's socket, and by `docker logs`. From the engine's files: `logfile`.
//!
//! The three take turns; the median of each counts. The raw reader asks for what the agent asks for, with
//! times, and again without them, which is the faster read and the stricter reference.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use turbopanel_agent::proto::{
    StreamLogsRequest, log_service_client::LogServiceClient, stream_logs_response::Event,
};

use crate::{
    agent::Agent,
    plane::Plane,
    process::{Container, cpu_time, docker, own_cpu_time},
    row::{Goal, Row, median},
};

pub(crate) const LINES: u64 = 1_000_000;
/// With its newline a line has 100 bytes.
pub(crate) const LINE: usize = 99;
const ROUNDS: usize = 3;

/// How long one reading took, and what it cost the reader.
pub(crate) struct Reading {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
}

pub(crate) fn measure() -> anyhow::Result<Vec<Row>> {
    let text = "x".repeat(LINE);
    // A log of more files than the agent reads by itself: it comes through the engine's API.
    let options = ["--log-opt=max-size=100g", "--log-opt=max-file=101"];
    let script = format!("yes {text} | head -n {LINES}");
    let container = Container::start_with(&options, &script)?;
    ensure!(
        docker(&["wait", &container.0])? == "0",
        "the container did not print its lines"
    );

    let plane = Plane::start()?;
    let agent = Agent::joined(&plane)?;

    let (mut tunnel, mut raw, mut timed, mut cli) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // The first round warms the page cache up and is not counted.
    for round in 0..=ROUNDS {
        let results = [
            by_raw_read(&container.0, false)?,
            through_the_tunnel(&plane, &agent, &container.0)?,
            by_raw_read(&container.0, true)?,
            by_docker_logs(&container.0)?,
        ];
        if round > 0 {
            for (kept, result) in [&mut raw, &mut tunnel, &mut timed, &mut cli]
                .into_iter()
                .zip(results)
            {
                kept.push(result);
            }
        }
    }
    let wall = |readings: &[Reading]| median(readings.iter().map(|reading| reading.wall).collect());
    let cpu = |readings: &[Reading]| median(readings.iter().map(|reading| reading.cpu).collect());
    let speed = |readings: &[Reading]| LINES as f64 / wall(readings);
    let row = |id, what, unit, value, reference, goal| Row {
        id,
        what,
        unit,
        value,
        reference: Some(reference),
        goal,
    };
    Ok(vec![
        row(
            "logs.speed.raw",
            "1,000,000 log lines through the tunnel, by raw read",
            "lines/s",
            speed(&tunnel),
            speed(&raw),
            Goal::AtLeast(0.9),
        ),
        row(
            "logs.speed.raw-times",
            "the same, by raw read with times as the agent reads",
            "lines/s",
            speed(&tunnel),
            speed(&timed),
            Goal::None,
        ),
        row(
            "logs.speed.docker",
            "the same, by docker logs",
            "lines/s",
            speed(&tunnel),
            speed(&cli),
            Goal::AtLeast(1.0),
        ),
        row(
            "logs.cpu",
            "the agent's CPU for that, by the raw reader's",
            "s",
            cpu(&tunnel),
            cpu(&raw),
            Goal::AtMost(1.3),
        ),
        row(
            "logs.cpu-times",
            "the same, by the raw reader's with times",
            "s",
            cpu(&tunnel),
            cpu(&timed),
            Goal::None,
        ),
    ])
}

pub(crate) fn through_the_tunnel(
    plane: &Plane,
    agent: &Agent,
    container: &str,
) -> anyhow::Result<Reading> {
    let before = cpu_time(agent.pid())?;
    let started = Instant::now();
    let (lines, bytes) = plane.runtime.block_on(async {
        let request = StreamLogsRequest {
            container: container.to_owned(),
            ..Default::default()
        };
        let mut client = LogServiceClient::new(plane.channel());
        let mut stream = client.stream_logs(request).await?.into_inner();
        let (mut lines, mut bytes) = (0, 0);
        while let Some(message) = stream.message().await? {
            if let Some(Event::Batch(batch)) = message.event {
                lines += batch.lines.len() as u64;
                bytes += batch
                    .lines
                    .iter()
                    .map(|line| line.content.len())
                    .sum::<usize>();
            }
        }
        anyhow::Ok((lines, bytes))
    })?;
    let wall = started.elapsed().as_secs_f64();
    ensure!(lines == LINES, "{lines} lines came through the tunnel");
    ensure!(
        bytes == LINE * LINES as usize,
        "{bytes} bytes came through the tunnel"
    );
    let cpu = cpu_time(agent.pid())?.saturating_sub(before);
    Ok(Reading {
        wall,
        cpu: cpu.as_secs_f64(),
    })
}

/// A thread of its own, so that its time on the processor is its own.
fn by_raw_read(container: &str, times: bool) -> anyhow::Result<Reading> {
    let path = format!(
        "/containers/{container}/logs?stdout=1&stderr=1&timestamps={}",
        u8::from(times)
    );
    let reader = thread::spawn(move || read_all(&path));
    let (bytes, wall, cpu) = reader
        .join()
        .map_err(|_| anyhow::anyhow!("the raw reader panicked"))??;
    // Each line with its newline and 8 bytes of framing, and what HTTP adds.
    let least = LINES * (LINE as u64 + 9);
    ensure!(
        bytes >= least,
        "the raw read gave {bytes} bytes, less than {least}"
    );
    Ok(Reading {
        wall: wall.as_secs_f64(),
        cpu: cpu.as_secs_f64(),
    })
}

fn read_all(path: &str) -> anyhow::Result<(u64, Duration, Duration)> {
    let before = own_cpu_time()?;
    let started = Instant::now();
    let socket = socket_path();
    let mut stream = UnixStream::connect(&socket).with_context(|| socket.clone())?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"
    )?;
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            read => bytes += read as u64,
        }
    }
    Ok((
        bytes,
        started.elapsed(),
        own_cpu_time()?.saturating_sub(before),
    ))
}

fn socket_path() -> String {
    std::env::var("DOCKER_HOST")
        .ok()
        .and_then(|host| host.strip_prefix("unix://").map(str::to_owned))
        .unwrap_or_else(|| "/var/run/docker.sock".to_owned())
}

pub(crate) fn by_docker_logs(container: &str) -> anyhow::Result<Reading> {
    let started = Instant::now();
    let mut child = Command::new("docker")
        .args(["logs", container])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = child.stdout.take().context("docker has no output")?;
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        match output.read(&mut buffer)? {
            0 => break,
            read => bytes += read as u64,
        }
    }
    ensure!(child.wait()?.success(), "docker logs failed");
    let wall = started.elapsed().as_secs_f64();
    ensure!(
        bytes == LINES * (LINE as u64 + 1),
        "docker logs gave {bytes} bytes"
    );
    Ok(Reading { wall, cpu: 0.0 })
}
