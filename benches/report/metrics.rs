//! What figures cost: one sample of 50 containers from cgroup files against the same by the engine's stats API, in
//! CPU of this process, dockerd, containerd and the shims together; and what an hour of them takes.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, ensure};
use turbopanel_agent::engines::{
    docker::{Engine, EngineAddress},
    host::HostRoot,
    metrics::{History, Metrics, STEP, Source, Wanted},
};

use crate::{
    process::{Container, cpu_time, own_cpu_time},
    row::{Goal, Row, median},
    tunnel::one_thread,
};

const CONTAINERS: usize = 50;
const SAMPLES: usize = 20;
/// The engine takes so much longer that fewer of its samples do.
const SAMPLES_OF_ENGINE: usize = 3;
const STEPS_OF_AN_HOUR: u32 = 360;

/// The processes that have a part in it, this one aside.
fn engine_processes(containers: &[Container]) -> anyhow::Result<Vec<u32>> {
    let pid = fs::read_to_string("/var/run/docker.pid").context("which process is dockerd?")?;
    let dockerd: u32 = pid.trim().parse()?;
    let mut found = vec![dockerd];
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) = path
            .file_name()
            .and_then(|name| name.to_str()?.parse::<u32>().ok())
        else {
            continue;
        };
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
        let (name, command) = (read("comm"), read("cmdline"));
        let parent = read("status");
        let parent = parent.lines().find_map(|line| line.strip_prefix("PPid:"));
        let of_dockerd = parent.is_some_and(|parent| parent.trim() == pid_text(dockerd));
        let ours = containers
            .iter()
            .any(|container| command.contains(&container.0));
        if (name.trim() == "containerd" && of_dockerd)
            || (name.starts_with("containerd-shim") && ours)
        {
            found.push(pid);
        }
    }
    Ok(found)
}

fn pid_text(pid: u32) -> String {
    pid.to_string()
}

/// The CPU of all of them.
fn cpu(processes: &[u32]) -> anyhow::Result<Duration> {
    processes.iter().map(|pid| cpu_time(*pid)).sum()
}

/// Milliseconds of CPU for one sample of the containers.
fn per_sample(
    metrics: &Metrics,
    source: Source,
    samples: usize,
    processes: &[u32],
) -> anyhow::Result<f64> {
    let runtime = one_thread()?;
    let mut costs = Vec::with_capacity(samples);
    runtime.block_on(async {
        // The first finds out which containers run.
        for round in 0..=samples {
            let before = cpu(processes)?;
            // Looking at hundreds of threads costs this one more than the sample: that is left out.
            let own = own_cpu_time()?;
            let sample = metrics.containers().await?;
            let own = own_cpu_time()?.saturating_sub(own);
            let spent = cpu(processes)?.saturating_sub(before) + own;
            let of_source = sample.rows.iter().filter(|row| row.source == source);
            ensure!(of_source.count() >= CONTAINERS, "figures are missing");
            if round > 0 {
                costs.push(spent.as_secs_f64() * 1e3);
            }
        }
        anyhow::Ok(())
    })?;
    Ok(median(costs))
}

pub(crate) fn measure() -> anyhow::Result<Vec<Row>> {
    let mut containers = Vec::with_capacity(CONTAINERS);
    for number in 0..CONTAINERS {
        // Some do a little all the time, as services do.
        let script = if number % 2 == 0 {
            "while :; do usleep 200000; done"
        } else {
            "exec sleep 3600"
        };
        containers.push(Container::start(script)?);
    }
    let processes = engine_processes(&containers)?;
    ensure!(processes.len() > CONTAINERS, "not every shim was found");

    let engine = || Engine::new(EngineAddress::default());
    let metrics = Metrics::new(engine(), HostRoot::default());
    let by_cgroup = per_sample(&metrics, Source::Cgroup, SAMPLES, &processes)?;
    // A root without cgroups of these containers: the agent asks the engine.
    let elsewhere = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/host");
    let asking = Metrics::new(engine(), HostRoot::under(elsewhere));
    let by_engine = per_sample(&asking, Source::Engine, SAMPLES_OF_ENGINE, &processes)?;

    let (mut host, mut history, mut all) = (Vec::new(), History::default(), 0);
    one_thread()?.block_on(async {
        for step in 0..STEPS_OF_AN_HOUR {
            let before = own_cpu_time()?;
            metrics.host(Wanted::default()).await;
            host.push((own_cpu_time()?.saturating_sub(before)).as_secs_f64() * 1e6);
            let mut one = metrics.step().await;
            all = one.containers.as_ref().map_or(0, |found| found.rows.len());
            one.host.tick = STEP * step;
            history.push(&one);
        }
        anyhow::Ok(())
    })?;
    ensure!(all >= CONTAINERS, "steps without containers");
    let kept = history.bytes() as f64 / 1024.0 / 1024.0;
    Ok(vec![
        Row {
            id: "metrics.sample.cpu",
            what: "one sample of 50 containers, CPU of all, cgroup files",
            unit: "ms",
            value: by_cgroup,
            reference: Some(by_engine),
            goal: Goal::AtMost(0.02),
        },
        Row {
            id: "metrics.sample.container",
            what: "one container of it",
            unit: "µs",
            value: by_cgroup * 1e3 / CONTAINERS as f64,
            reference: None,
            goal: Goal::None,
        },
        Row {
            id: "metrics.sample.host",
            what: "one sample of the host",
            unit: "µs",
            value: median(host),
            reference: None,
            goal: Goal::None,
        },
        Row {
            id: "metrics.history",
            what: "one hour of history, host and 50 containers",
            unit: "MiB",
            value: kept,
            reference: None,
            goal: Goal::AtMost(4.0),
        },
    ])
}
