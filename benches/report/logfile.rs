//! 1,000,000 log lines of 100 bytes from the engine's log file to a caller through the tunnel, by `docker logs`.
//!
//! The ways take turns; the median of each counts. For orientation, also by a bare read of the file, which takes
//! nothing apart.

use std::{
    fs::File,
    io::Read,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use crate::{
    agent::Agent,
    logs::{LINES, Reading, by_docker_logs, through_the_tunnel},
    plane::Plane,
    process::{Container, docker},
    row::{Goal, Row, median},
};

const ROUNDS: usize = 3;

pub(crate) fn measure() -> anyhow::Result<Vec<Row>> {
    let text = "x".repeat(crate::logs::LINE);
    let container = Container::start(&format!("yes {text} | head -n {LINES}"))?;
    ensure!(
        docker(&["wait", &container.0])? == "0",
        "the container did not print its lines"
    );
    let path = docker(&["inspect", "--format", "{{.LogPath}}", &container.0])?;

    let plane = Plane::start()?;
    let agent = Agent::joined(&plane)?;

    let (mut tunnel, mut cli, mut file) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms the page cache up and is not counted.
    for round in 0..=ROUNDS {
        let results = [
            through_the_tunnel(&plane, &agent, &container.0)?,
            by_docker_logs(&container.0)?,
            bare(&path)?,
        ];
        if round > 0 {
            for (kept, result) in [&mut tunnel, &mut cli, &mut file].into_iter().zip(results) {
                kept.push(result);
            }
        }
    }
    let wall = |readings: &[Reading]| median(readings.iter().map(|reading| reading.wall).collect());
    let cpu = |readings: &[Reading]| median(readings.iter().map(|reading| reading.cpu).collect());
    let speed = |readings: &[Reading]| LINES as f64 / wall(readings);
    Ok(vec![
        Row {
            id: "logfile.speed.docker",
            what: "1,000,000 log lines from the file, by docker logs",
            unit: "lines/s",
            value: speed(&tunnel),
            reference: Some(speed(&cli)),
            goal: Goal::AtLeast(15.0),
        },
        Row {
            id: "logfile.speed.bare",
            what: "the same, by a bare read of the file",
            unit: "lines/s",
            value: speed(&tunnel),
            reference: Some(speed(&file)),
            goal: Goal::None,
        },
        Row {
            id: "logfile.cpu",
            what: "the agent's CPU for that",
            unit: "s",
            value: cpu(&tunnel),
            reference: None,
            goal: Goal::None,
        },
    ])
}

/// Reads the file and does nothing with it.
fn bare(path: &str) -> anyhow::Result<Reading> {
    let started = Instant::now();
    let mut file = File::open(path).with_context(|| path.to_owned())?;
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => bytes += read as u64,
        }
    }
    let wall: Duration = started.elapsed();
    ensure!(bytes > LINES * 100, "the file has {bytes} bytes");
    Ok(Reading {
        wall: wall.as_secs_f64(),
        cpu: 0.0,
    })
}
