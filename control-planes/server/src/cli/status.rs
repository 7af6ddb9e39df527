//! `turbopanel status`: how an agent and its host are doing.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use turbopanel_control_plane::proto::agent::{
    AgentStatus, ConnectionStatus, EngineStatus, GetStatusRequest, HostStatus,
    agent_service_client::AgentServiceClient, connection_status::State,
};

use super::{
    colour::Colour,
    connection::{Connection, prompt},
    failure::Failure,
    figures, moment,
    output::print_json,
    table::{Cell, Table},
};

/// Prints the status of one agent.
pub(crate) async fn show(
    connection: &Connection,
    agent: &str,
    as_json: bool,
) -> Result<u8, Failure> {
    let mut client = AgentServiceClient::new(connection.agent(agent)?);
    let answer = client
        .get_status(prompt(GetStatusRequest {}))
        .await?
        .into_inner();
    let status = answer.status.ok_or(Failure::Answer("status"))?;
    if as_json {
        print_json(&for_programs(&status))?;
    } else {
        for_people(&status).print()?;
    }
    Ok(0)
}

fn for_people(status: &AgentStatus) -> Table {
    let mut table = Table::new(&["AGENT", &status.name]);
    let mut line = |name: &str, value: String| table.row([name.into(), value.into()]);
    line(
        "Version",
        format!(
            "{} ({}, instance {})",
            status.version, status.mode, status.instance
        ),
    );
    line(
        "Up",
        span(status.uptime.as_ref())
            .map(figures::age)
            .unwrap_or_default(),
    );
    line("Can", status.capabilities.join(", "));
    if let Some(link) = &status.connection {
        line("Control plane", told(link));
        if !link.last_error.is_empty() {
            line("Last cut", link.last_error.clone());
        }
    }
    if let Some(host) = &status.host {
        line(
            "Host",
            format!(
                "{}, {}, Linux {}",
                host.hostname, host.architecture, host.kernel
            ),
        );
        line(
            "Host up",
            span(host.uptime.as_ref())
                .map(figures::age)
                .unwrap_or_default(),
        );
        line(
            "Load",
            format!(
                "{:.2} {:.2} {:.2} on {} CPUs",
                host.load1, host.load5, host.load15, host.cpus
            ),
        );
        line(
            "Memory",
            used(host.memory_total_bytes, host.memory_available_bytes),
        );
        line("Swap", used(host.swap_total_bytes, host.swap_free_bytes));
        line(
            "Disk",
            used(host.disk_total_bytes, host.disk_available_bytes),
        );
    }
    if let Some(engine) = &status.engine {
        table.row(["Engine".into(), engine_cell(engine)]);
    }
    table
}

fn engine_cell(engine: &EngineStatus) -> Cell {
    if engine.reachable {
        let (product, version) = match engine.version.strip_suffix(" (Podman)") {
            Some(version) => ("Podman", version),
            None => ("Docker", engine.version.as_str()),
        };
        let text = format!(
            "{product} {version} (API {}) at {}",
            engine.api_version, engine.address
        );
        Cell::new(&text, Colour::Good)
    } else {
        Cell::new(
            &format!("not reachable at {}: {}", engine.address, engine.error),
            Colour::Bad,
        )
    }
}

fn told(link: &ConnectionStatus) -> String {
    let mut text = state(link).to_owned();
    if let Some(since) = &link.since {
        text.push_str(&format!(
            " for {}",
            figures::age(moment::since(since, SystemTime::now()))
        ));
    }
    if !link.control_plane_url.is_empty() {
        text.push_str(&format!(", {}", link.control_plane_url));
    }
    if link.insecure {
        text.push_str(", not encrypted");
    }
    text
}

fn used(total: u64, free: u64) -> String {
    if total == 0 {
        return "none".to_owned();
    }
    format!(
        "{} of {} used",
        figures::size(total.saturating_sub(free)),
        figures::size(total)
    )
}

fn span(duration: Option<&prost_types::Duration>) -> Option<Duration> {
    Duration::try_from(*duration?).ok()
}

fn state(link: &ConnectionStatus) -> &'static str {
    match link.state() {
        State::Unspecified => "unknown",
        State::Connecting => "connecting",
        State::Connected => "connected",
        State::Waiting => "waiting",
        State::Integrated => "integrated",
    }
}

fn for_programs(status: &AgentStatus) -> Value {
    json!({
        "name": status.name,
        "instance": status.instance,
        "version": status.version,
        "mode": status.mode,
        "uptime_seconds": seconds(status.uptime.as_ref()),
        "capabilities": status.capabilities,
        "connection": status.connection.as_ref().map(|link| json!({
            "state": state(link),
            "since": moment::for_programs(link.since.as_ref()),
            "control_plane_url": link.control_plane_url,
            "connects": link.connects,
            "last_error": link.last_error,
            "insecure": link.insecure,
        })),
        "engine": status.engine.as_ref().map(|engine| json!({
            "reachable": engine.reachable,
            "address": engine.address,
            "version": engine.version,
            "api_version": engine.api_version,
            "error": engine.error,
        })),
        "host": status.host.as_ref().map(host_for_programs),
    })
}

fn host_for_programs(host: &HostStatus) -> Value {
    json!({
        "hostname": host.hostname,
        "kernel": host.kernel,
        "architecture": host.architecture,
        "uptime_seconds": seconds(host.uptime.as_ref()),
        "cpus": host.cpus,
        "load": [host.load1, host.load5, host.load15],
        "memory_total_bytes": host.memory_total_bytes,
        "memory_available_bytes": host.memory_available_bytes,
        "swap_total_bytes": host.swap_total_bytes,
        "swap_free_bytes": host.swap_free_bytes,
        "disk_total_bytes": host.disk_total_bytes,
        "disk_available_bytes": host.disk_available_bytes,
    })
}

fn seconds(duration: Option<&prost_types::Duration>) -> Option<u64> {
    span(duration).map(|span| span.as_secs())
}
