//! 50 containers followed at once as one stream, each printing 1,000 lines a second for a minute: nothing may be missing, and the
//! agent stays small.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use turbopanel_agent::proto::{
    LogSelection, StreamLogsRequest, log_service_client::LogServiceClient,
    stream_logs_response::Event,
};

use crate::{
    agent::Agent,
    plane::Plane,
    process::{Container, cpu_time, docker, status},
    row::{Goal, Row},
};

const CONTAINERS: usize = 50;
const SECONDS: u64 = 60;
/// Printed at once, five times a second.
const EACH: u64 = 200;
/// How much longer a busy machine may take.
const LATE: Duration = Duration::from_secs(60);

pub(crate) fn measure() -> anyhow::Result<Vec<Row>> {
    let label = format!("tp-followmany={}", std::process::id());
    let plane = Plane::start()?;
    let agent = Agent::joined(&plane)?;
    // Each waits for its file, so that all print at the same time.
    let script = format!(
        "while [ ! -e /go ]; do sleep 0.1; done; \
         n=0; while [ $n -lt {rounds} ]; do n=$((n+1)); echo; sleep 0.2; done | \
         awk '{{ for (i = 0; i < {EACH}; i++) print ++n, \"a line as services print them, with some text\"; fflush() }}'; \
         sleep 600",
        rounds = SECONDS * 5
    );
    let mut containers = Vec::new();
    for _ in 0..CONTAINERS {
        containers.push(Container::start_with(&["--label", &label], &script)?);
    }
    let lines = SECONDS * 5 * EACH;
    let (name, value) = label.split_once('=').context("a label")?;
    let labels = HashMap::from([(name.to_owned(), value.to_owned())]);
    let before = cpu_time(agent.pid())?;
    let (seconds, most) = plane.runtime.block_on(async {
        let request = StreamLogsRequest {
            selection: Some(LogSelection {
                labels,
                ..Default::default()
            }),
            follow: true,
            ..Default::default()
        };
        let mut client = LogServiceClient::new(plane.channel());
        let mut stream = client.stream_logs(request).await?.into_inner();
        let start = tokio::task::spawn_blocking({
            let ids: Vec<String> = containers.iter().map(|one| one.0.clone()).collect();
            move || -> anyhow::Result<()> {
                for id in ids {
                    docker(&["exec", "--detach", &id, "touch", "/go"])?;
                }
                Ok(())
            }
        });
        let (mut next, mut done, mut most) = (HashMap::<u32, u64>::new(), 0, 0.0_f64);
        let began = Instant::now();
        while done < CONTAINERS {
            let left = (Duration::from_secs(SECONDS) + LATE).saturating_sub(began.elapsed());
            let message = tokio::time::timeout(left, stream.message())
                .await
                .with_context(|| {
                    format!("{done} of {CONTAINERS} logs came to their end in time")
                })??;
            let Some(Event::Batch(batch)) = message.and_then(|message| message.event) else {
                bail!("something else than lines came");
            };
            for line in &batch.lines {
                let next = next.entry(line.source).or_insert(1);
                let digits: Vec<u8> = line
                    .content
                    .iter()
                    .copied()
                    .take_while(u8::is_ascii_digit)
                    .collect();
                let number: u64 = std::str::from_utf8(&digits)?.parse()?;
                ensure!(number == *next, "line {number} came where {next} was due");
                *next += 1;
                done += usize::from(number == lines);
            }
            most = most.max(status(agent.pid(), "VmRSS")?);
        }
        start.await??;
        anyhow::Ok((began.elapsed().as_secs_f64(), most))
    })?;
    let cpu = cpu_time(agent.pid())?.saturating_sub(before).as_secs_f64();
    let row = |id, what, unit, value, goal| Row {
        id,
        what,
        unit,
        value,
        reference: None,
        goal,
    };
    Ok(vec![
        row(
            "followmany.memory",
            "the agent, with 50 logs of 1,000 lines/s followed",
            "MiB",
            most / 1024.0,
            Goal::AtMost(32.0),
        ),
        row(
            "followmany.speed",
            "lines that came, none missing",
            "lines/s",
            (lines * CONTAINERS as u64) as f64 / seconds,
            Goal::None,
        ),
        row(
            "followmany.cpu",
            "the agent's CPU for that",
            "cores",
            cpu / seconds,
            Goal::None,
        ),
    ])
}
