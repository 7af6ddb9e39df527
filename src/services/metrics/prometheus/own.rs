//! The agent's own figures: its connection, its calls, and its process.

use std::time::{SystemTime, UNIX_EPOCH};

use super::super::{
    convert::seconds,
    exposition::{Exposition, Kind::Gauge, Value},
};
use crate::{
    VERSION,
    agent::Agent,
    connect::State,
    engines::process::own::{self, Own},
};

/// What is told of the agent.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) name: String,
    pub(super) mode: &'static str,
    pub(super) connected: bool,
    pub(super) engine_reachable: bool,
    pub(super) calls_running: u64,
    pub(super) streams: u64,
    pub(super) history_bytes: u64,
    pub(super) missing_sources: u64,
    pub(super) connects: u64,
    pub(super) calls: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
    pub(super) process: Own,
    /// Seconds since 1970.
    pub(super) started: Option<f64>,
}

impl Figures {
    /// Of this agent, which could not read so many sources.
    pub(super) fn of(agent: &Agent, missing: usize) -> Self {
        let connection = agent.connection().borrow().clone();
        let tally = agent.tally();
        let started = SystemTime::now().checked_sub(agent.started().elapsed());
        let started = started.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Self {
            name: agent.name(),
            mode: agent.mode(),
            connected: matches!(connection.state, State::Connected | State::Integrated),
            engine_reachable: agent.engine().known().borrow().reachable,
            calls_running: tally.running(),
            streams: tally.streams(),
            history_bytes: agent.metrics().history().bytes() as u64,
            missing_sources: missing as u64,
            connects: connection.connects,
            calls: tally.calls(),
            received_bytes: tally.received_bytes(),
            sent_bytes: tally.sent_bytes(),
            process: own::read(),
            started: started.map(|since| since.as_secs_f64()),
        }
    }
}

/// Writes them down.
pub(super) fn write(text: &mut Exposition, own: &Figures) {
    let mut family = text.family(Gauge, "turbopanel_agent_info", "What the agent is.");
    let labels = [
        ("name", &*own.name),
        ("version", VERSION),
        ("mode", own.mode),
    ];
    family.sample(&labels, Some(true));
    let gauges: [(&str, &str, Value); 6] = [
        (
            "connected",
            "Whether the control plane is connected.",
            own.connected.into(),
        ),
        (
            "engine_reachable",
            "Whether the container engine answered when last asked.",
            own.engine_reachable.into(),
        ),
        ("calls", "Calls that run.", own.calls_running.into()),
        (
            "streams",
            "Calls that run and have begun to answer.",
            own.streams.into(),
        ),
        (
            "history_bytes",
            "Memory of the figures that are kept.",
            own.history_bytes.into(),
        ),
        (
            "missing_sources",
            "Sources of figures that could not be read.",
            own.missing_sources.into(),
        ),
    ];
    for (name, help, value) in gauges {
        text.gauge(&format!("turbopanel_agent_{name}"), help, Some(value));
    }
    let counters: [(&str, &str, u64); 5] = [
        (
            "connects",
            "How often the agent has connected.",
            own.connects,
        ),
        (
            "reconnects",
            "How often it has connected again.",
            own.connects.saturating_sub(1),
        ),
        ("calls", "Calls since the start.", own.calls),
        (
            "received_bytes",
            "Bytes of requests, by the tunnel and the agent's port.",
            own.received_bytes,
        ),
        (
            "sent_bytes",
            "Bytes of answers, by the tunnel and the agent's port.",
            own.sent_bytes,
        ),
    ];
    for (name, help, value) in counters {
        text.counter(&format!("turbopanel_agent_{name}_total"), help, Some(value));
    }
    text.counter(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        seconds(own.process.cpu),
    );
    text.gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        own.process.resident,
    );
    text.gauge(
        "process_open_fds",
        "Number of open file descriptors.",
        own.process.open_files,
    );
    text.gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        own.started,
    );
}
