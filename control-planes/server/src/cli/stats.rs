//! `turbopanel stats`: what containers use, of one agent or of all that are connected.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::timeout;
use turbopanel_control_plane::proto::agent::{
    BlockDeviceMetrics, ContainerMetrics, GetContainerMetricsRequest, GetContainerMetricsResponse,
    container_metrics::Source, metrics_service_client::MetricsServiceClient,
};

use super::{
    agents,
    colour::Colour,
    connection::{Connection, prompt},
    failure::Failure,
    figures, moment, note,
    output::print_json,
    refresh::{Frame, live},
    table::{Cell, Table},
    text,
};

/// Agents that are asked at the same time.
const AT_ONCE: usize = 16;
/// How long one of many agents may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Prints figures, again and again on a terminal.
pub(crate) async fn show(
    connection: &Connection,
    place: Option<text::Place>,
    once: bool,
    as_json: bool,
) -> Result<u8, Failure> {
    if !as_json && !once {
        let frame = async || {
            let (found, problems) = figures_of(connection, place.as_ref()).await?;
            let mut frame = Frame::from(table(&found, place.is_none()));
            frame.notes.extend(missing(&found));
            frame.notes.extend(problems);
            Ok(frame)
        };
        if let Some(ended) = live(frame).await {
            return ended;
        }
    }
    let (found, problems) = figures_of(connection, place.as_ref()).await?;
    let (failed, asked) = (problems.len(), problems.len() + found.len());
    for sentence in missing(&found) {
        note(&sentence);
    }
    for problem in problems {
        note(&problem);
    }
    if as_json {
        let rows = found.iter().flat_map(|(agent, answer)| {
            let containers = answer.containers.iter();
            containers.map(move |one| for_programs(agent, one))
        });
        print_json(&rows.collect::<Vec<_>>())?;
    } else {
        table(&found, place.is_none()).print()?;
    }
    if failed > 0 {
        return Err(Failure::Partly { failed, asked });
    }
    Ok(0)
}

type Found = Vec<(String, GetContainerMetricsResponse)>;

/// What agents could not read, and why.
fn missing(found: &Found) -> Vec<String> {
    let told = found.iter().flat_map(|(agent, answer)| {
        answer.missing.iter().map(move |missing| {
            let words = [agent, &missing.source, &missing.reason].map(|word| text::safe(word));
            words.join(": ")
        })
    });
    told.collect()
}

/// The figures of each agent that answered, and what to say of the others.
async fn figures_of(
    connection: &Connection,
    place: Option<&text::Place>,
) -> Result<(Found, Vec<String>), Failure> {
    if let Some(place) = place {
        let containers = place.container.iter().cloned().collect();
        let found = of_agent(connection, &place.agent, containers).await?;
        return Ok((vec![(place.agent.clone(), found)], Vec::new()));
    }
    let connected = agents::all(connection).await?.into_iter();
    let connected = connected.filter(|agent| agent.connected);
    let names: Vec<String> = connected.map(|agent| agent.name).collect();
    let answers: Vec<_> = stream::iter(names)
        .map(|agent| async move {
            let answer = timeout(PATIENCE, of_agent(connection, &agent, Vec::new())).await;
            (agent, answer)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for (agent, answer) in answers {
        let agent_name = text::safe(&agent);
        match answer {
            Ok(Ok(containers)) => found.push((agent, containers)),
            Ok(Err(failure)) => {
                let failure = text::safe(&failure.to_string());
                problems.push(format!("agent {agent_name}: {failure}"));
            }
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                problems.push(format!("agent {agent_name}: no answer within {seconds} s"));
            }
        }
    }
    Ok((found, problems))
}

async fn of_agent(
    connection: &Connection,
    agent: &str,
    containers: Vec<String>,
) -> Result<GetContainerMetricsResponse, Failure> {
    let mut client = MetricsServiceClient::new(connection.agent(agent)?);
    let request = GetContainerMetricsRequest { containers };
    let answer = client.get_container_metrics(prompt(request)).await?;
    Ok(answer.into_inner())
}

fn table(found: &Found, many: bool) -> Table {
    let head = [
        "AGENT", "NAME", "CPU %", "MEMORY", "LIMIT", "RECEIVED", "SENT", "READ", "WRITTEN", "PIDS",
    ];
    let skip = usize::from(!many);
    let mut table = Table::new(head.get(skip..).unwrap_or(&head));
    for (agent, answer) in found {
        for one in &answer.containers {
            table.row(cells(agent, one).into_iter().skip(skip));
        }
    }
    table
}

fn cells(agent: &str, one: &ContainerMetrics) -> [Cell; 10] {
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "–".to_owned(), figures::size);
    let working = one.memory_working_set_bytes;
    // Near its limit the kernel begins to kill.
    let full = working
        .zip(one.memory_limit_bytes)
        .is_some_and(|(used, limit)| used >= limit - limit / 10);
    let colour = if full { Colour::Bad } else { Colour::Plain };
    let percent = one.cpu_percent.map(|percent| format!("{percent:.2}"));
    let limit = match one.memory_limit_bytes {
        Some(limit) => figures::size(limit),
        None => "none".to_owned(),
    };
    [
        agent.into(),
        one.name.as_str().into(),
        percent.unwrap_or_else(|| "–".to_owned()).into(),
        Cell::new(&size(working), colour),
        limit.into(),
        size(one.received_bytes).into(),
        size(one.sent_bytes).into(),
        size(one.read_bytes).into(),
        size(one.written_bytes).into(),
        one.pids
            .map_or_else(|| "–".to_owned(), |pids| pids.to_string())
            .into(),
    ]
}

fn for_programs(agent: &str, one: &ContainerMetrics) -> Value {
    let source = match one.source() {
        Source::Cgroup => "cgroup",
        Source::Engine => "engine",
        Source::Unspecified => "unknown",
    };
    let over = one
        .measured_over
        .and_then(|over| Duration::try_from(over).ok());
    json!({
        "agent": agent,
        "id": one.id,
        "name": one.name,
        "time": moment::for_programs(one.time.as_ref()),
        "measured_over_seconds": over.map(|over| over.as_secs_f64()),
        "source": source,
        "cpu_percent": one.cpu_percent,
        "cpu_seconds": one.cpu_seconds,
        "cpu_user_seconds": one.cpu_user_seconds,
        "cpu_system_seconds": one.cpu_system_seconds,
        "cpu_periods": one.cpu_periods,
        "cpu_throttled_periods": one.cpu_throttled_periods,
        "cpu_throttled_seconds": one.cpu_throttled_seconds,
        "memory_usage_bytes": one.memory_usage_bytes,
        "memory_working_set_bytes": one.memory_working_set_bytes,
        "memory_anonymous_bytes": one.memory_anonymous_bytes,
        "memory_cache_bytes": one.memory_cache_bytes,
        "memory_limit_bytes": one.memory_limit_bytes,
        "swap_bytes": one.swap_bytes,
        "received_bytes": one.received_bytes,
        "received_packets": one.received_packets,
        "receive_errors": one.receive_errors,
        "receive_dropped": one.receive_dropped,
        "received_bytes_per_second": one.received_bytes_per_second,
        "sent_bytes": one.sent_bytes,
        "sent_packets": one.sent_packets,
        "send_errors": one.send_errors,
        "send_dropped": one.send_dropped,
        "sent_bytes_per_second": one.sent_bytes_per_second,
        "read_bytes": one.read_bytes,
        "reads": one.reads,
        "read_bytes_per_second": one.read_bytes_per_second,
        "written_bytes": one.written_bytes,
        "writes": one.writes,
        "written_bytes_per_second": one.written_bytes_per_second,
        "block_devices": one.block_devices.iter().map(device).collect::<Vec<_>>(),
        "pids": one.pids,
        "pids_limit": one.pids_limit,
    })
}

fn device(io: &BlockDeviceMetrics) -> Value {
    json!({
        "device": io.device,
        "read_bytes": io.read_bytes,
        "written_bytes": io.written_bytes,
        "reads": io.reads,
        "writes": io.writes,
    })
}
