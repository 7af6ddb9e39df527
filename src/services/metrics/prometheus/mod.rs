//! What `/metrics` says, in base units; named as node_exporter and cAdvisor name it where they do.

mod containers;
mod host;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::timeout;

use super::{
    convert::seconds,
    exposition::{Exposition, Kind::Gauge, Value},
};
use crate::{
    VERSION,
    agent::Agent,
    connect::State,
    engines::{metrics::Wanted, process::own},
};

pub use super::exposition::CONTENT_TYPE;

/// How long the engine may take to tell its containers: who scrapes waits 10 s, and the host is told in any case.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads everything and writes it down.
pub async fn text(agent: &Agent) -> String {
    let wanted = Wanted {
        temperatures: true,
        ..Wanted::default()
    };
    let metrics = agent.metrics();
    let (sample, found) = tokio::join!(
        metrics.host(wanted),
        timeout(PATIENCE, metrics.containers())
    );
    let mut text = Exposition::default();
    host::write(&mut text, &sample);
    let mut missing = sample.missing.len();
    match &found {
        Ok(Ok(found)) => {
            containers::write(&mut text, found);
            missing += found.missing.len();
        }
        Ok(Err(_)) | Err(_) => missing += 1,
    }
    of_agent(&mut text, agent, missing);
    text.finish()
}

fn of_agent(text: &mut Exposition, agent: &Agent, missing: usize) {
    let connection = agent.connection().borrow().clone();
    let connected = matches!(connection.state, State::Connected | State::Integrated);
    let name = agent.name();
    let mut family = text.family(Gauge, "turbopanel_agent_info", "What the agent is.");
    let labels = [
        ("name", &*name),
        ("version", VERSION),
        ("mode", agent.mode()),
    ];
    family.sample(&labels, Some(true));
    let tally = agent.tally();
    let engine = agent.engine().known().borrow().reachable;
    let history = agent.metrics().history().bytes() as u64;
    let reconnects = connection.connects.saturating_sub(1);
    let mut gauge = |name: &str, help: &str, value: Value| {
        text.gauge(&format!("turbopanel_agent_{name}"), help, Some(value));
    };
    gauge(
        "connected",
        "Whether the control plane is connected.",
        connected.into(),
    );
    gauge(
        "engine_reachable",
        "Whether the container engine answered when last asked.",
        engine.into(),
    );
    gauge("calls", "Calls that run.", tally.running().into());
    gauge(
        "streams",
        "Calls that run and have begun to answer.",
        tally.streams().into(),
    );
    gauge(
        "history_bytes",
        "Memory of the figures that are kept.",
        history.into(),
    );
    gauge(
        "missing_sources",
        "Sources of figures that could not be read.",
        (missing as u64).into(),
    );
    let mut counter = |name: &str, help: &str, value: u64| {
        text.counter(&format!("turbopanel_agent_{name}_total"), help, Some(value));
    };
    counter(
        "connects",
        "How often the agent has connected.",
        connection.connects,
    );
    counter(
        "reconnects",
        "How often it has connected again.",
        reconnects,
    );
    counter("calls", "Calls since the start.", tally.calls());
    counter(
        "received_bytes",
        "Bytes of requests, by the tunnel and the agent's port.",
        tally.received_bytes(),
    );
    counter(
        "sent_bytes",
        "Bytes of answers, by the tunnel and the agent's port.",
        tally.sent_bytes(),
    );
    let own = own::read();
    let started = SystemTime::now().checked_sub(agent.started().elapsed());
    let started = started.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    text.counter(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        seconds(own.cpu),
    );
    text.gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        own.resident,
    );
    text.gauge(
        "process_open_fds",
        "Number of open file descriptors.",
        own.open_files,
    );
    let help = "Start time of the process since unix epoch in seconds.";
    text.gauge(
        "process_start_time_seconds",
        help,
        started.map(|since| since.as_secs_f64()),
    );
}
