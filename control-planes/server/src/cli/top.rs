//! `turbopanel top`: how an agent's host is doing, and which processes make it so.

use turbopanel_control_plane::proto::agent::{
    GetHostMetricsRequest, HostMetrics, ProcessMetrics,
    metrics_service_client::MetricsServiceClient,
};

use super::{
    args::Top,
    colour::Colour,
    connection::{Connection, prompt},
    failure::Failure,
    figures, host_json, note,
    output::print_json,
    refresh::{Frame, live},
    table::{Cell, Table},
    text,
};

/// Prints figures, again and again on a terminal.
pub(crate) async fn show(connection: &Connection, args: Top, as_json: bool) -> Result<u8, Failure> {
    let host = async || host(connection, &args).await;
    if !as_json && !args.once {
        let frame = async || Ok(frame(&args.agent, &host().await?));
        if let Some(ended) = live(frame).await {
            return ended;
        }
    }
    let host = host().await?;
    if as_json {
        print_json(&host_json::host(&host))?;
        return Ok(0);
    }
    let frame = frame(&args.agent, &host);
    for (index, table) in frame.tables.iter().enumerate() {
        if index > 0 {
            super::output::print(b"\n")?;
        }
        table.print()?;
    }
    for sentence in frame.notes {
        note(&sentence);
    }
    Ok(0)
}

async fn host(connection: &Connection, args: &Top) -> Result<HostMetrics, Failure> {
    let mut client = MetricsServiceClient::new(connection.agent(&args.agent)?);
    let request = GetHostMetricsRequest {
        processes: args.processes,
        include_command_lines: args.command_lines,
    };
    let answer = client.get_host_metrics(prompt(request)).await?.into_inner();
    answer.host.ok_or(Failure::Answer("host"))
}

fn frame(agent: &str, host: &HostMetrics) -> Frame {
    let mut tables = vec![summary(agent, host), file_systems(host)];
    if !host.disks.is_empty() {
        tables.push(disks(host));
    }
    tables.push(interfaces(host));
    if !host.processes.is_empty() {
        tables.push(processes(&host.processes));
    }
    let notes = host.missing.iter().map(|missing| {
        let (source, reason) = (text::safe(&missing.source), text::safe(&missing.reason));
        format!("{source}: {reason}")
    });
    Frame {
        tables,
        notes: notes.collect(),
    }
}

fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0))
}

fn size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "–".to_owned(), figures::size)
}

fn rate(bytes: Option<f64>) -> String {
    size(bytes.map(|bytes| bytes.round() as u64))
}

fn summary(agent: &str, host: &HostMetrics) -> Table {
    let mut table = Table::new(&["AGENT", agent]);
    let busy = host.cpu.as_ref().and_then(|cpu| cpu.busy_ratio);
    let cores = host.cores.len();
    table.row([
        "CPU".into(),
        Cell::new(&format!("{} of {cores}", percent(busy)), heat(busy)),
    ]);
    let mut line = |name: &str, value: String| table.row([name.into(), value.into()]);
    if cores > 1 {
        let each = host.cores.iter().map(|core| percent(core.busy_ratio));
        line("Each", each.collect::<Vec<_>>().join("  "));
    }
    if let Some(load) = &host.load {
        let average = |value: Option<f64>| {
            value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
        };
        let averages = [load.load1, load.load5, load.load15].map(average).join(" ");
        let count = |count: Option<u64>| count.unwrap_or_default();
        let tasks = format!(
            "{} of {} tasks run",
            count(load.running_tasks),
            count(load.tasks)
        );
        line("Load", format!("{averages}, {tasks}"));
    }
    if let Some(memory) = &host.memory {
        let left = memory.available_bytes.or(memory.free_bytes);
        let used = |total: Option<u64>, left: Option<u64>| {
            let used = total
                .zip(left)
                .map(|(total, left)| total.saturating_sub(left));
            format!("{} of {} used", size(used), size(total))
        };
        let cache = size(memory.cached_bytes);
        line(
            "Memory",
            format!("{}, {cache} cache", used(memory.total_bytes, left)),
        );
        if memory.swap_total_bytes > Some(0) {
            line(
                "Swap",
                used(memory.swap_total_bytes, memory.swap_free_bytes),
            );
        }
    }
    let pressure = [
        ("CPU", &host.cpu_pressure),
        ("memory", &host.memory_pressure),
        ("disks", &host.io_pressure),
    ];
    let waited: Vec<String> = pressure
        .iter()
        .filter_map(|(what, pressure)| {
            let some = pressure.as_ref()?.some_ratio_10s?;
            Some(format!("{} for {what}", percent(Some(some))))
        })
        .collect();
    if !waited.is_empty() {
        line("Waited", waited.join(", "));
    }
    if !host.temperatures.is_empty() {
        let told = host.temperatures.iter().map(|found| {
            let label = if found.label.is_empty() {
                &found.chip
            } else {
                &found.label
            };
            format!("{:.1} °C {label}", found.celsius)
        });
        line("Temperature", told.take(8).collect::<Vec<_>>().join(", "));
    }
    table
}

/// What is nearly full or fully busy stands out.
fn heat(ratio: Option<f64>) -> Colour {
    if ratio >= Some(0.9) {
        Colour::Bad
    } else {
        Colour::Plain
    }
}

fn file_systems(host: &HostMetrics) -> Table {
    let mut table = Table::new(&[
        "MOUNTED AT",
        "DEVICE",
        "TYPE",
        "SIZE",
        "LEFT",
        "USED",
        "FILES USED",
    ]);
    for system in &host.file_systems {
        let part = |all: Option<u64>, left: Option<u64>| {
            let (all, left) = all.zip(left).filter(|(all, _)| *all > 0)?;
            Some(all.saturating_sub(left) as f64 / all as f64)
        };
        // As df: what is kept for root counts neither as used nor as left.
        let taken = system.size_bytes.zip(system.free_bytes);
        let taken = taken.map(|(size, free)| size.saturating_sub(free));
        let usable = taken.zip(system.available_bytes);
        let usable = usable.map(|(taken, left)| taken.saturating_add(left));
        let used = part(usable, system.available_bytes);
        let files = part(system.inodes, system.inodes_free);
        table.row([
            system.mount_point.as_str().into(),
            system.device.as_str().into(),
            system.r#type.as_str().into(),
            size(system.size_bytes).into(),
            size(system.available_bytes).into(),
            Cell::new(&percent(used), heat(used)),
            Cell::new(&percent(files), heat(files)),
        ]);
    }
    table
}

fn disks(host: &HostMetrics) -> Table {
    let head = ["DISK", "READ", "READ/S", "WRITTEN", "WRITTEN/S", "BUSY"];
    let mut table = Table::new(&head);
    for disk in &host.disks {
        table.row([
            disk.device.as_str().into(),
            size(disk.read_bytes).into(),
            rate(disk.read_bytes_per_second).into(),
            size(disk.written_bytes).into(),
            rate(disk.written_bytes_per_second).into(),
            Cell::new(&percent(disk.busy_ratio), heat(disk.busy_ratio)),
        ]);
    }
    table
}

fn interfaces(host: &HostMetrics) -> Table {
    let mut table = Table::new(&[
        "INTERFACE",
        "RECEIVED",
        "RECEIVED/S",
        "SENT",
        "SENT/S",
        "ERRORS",
        "DROPPED",
    ]);
    let sum = |one: Option<u64>, other: Option<u64>| {
        let sum = one.zip(other).map(|(one, other)| one.saturating_add(other));
        sum.map_or_else(|| "–".to_owned(), |sum| sum.to_string())
    };
    for one in &host.interfaces {
        table.row([
            one.name.as_str().into(),
            size(one.received_bytes).into(),
            rate(one.received_bytes_per_second).into(),
            size(one.sent_bytes).into(),
            rate(one.sent_bytes_per_second).into(),
            sum(one.receive_errors, one.send_errors).into(),
            sum(one.receive_dropped, one.send_dropped).into(),
        ]);
    }
    table
}

fn processes(found: &[ProcessMetrics]) -> Table {
    let mut table = Table::new(&["PID", "UID", "CPU %", "MEMORY", "STATE", "NAME"]);
    for process in found {
        let cpu = process.cpus.map(|cpus| format!("{:.1}", cpus * 100.0));
        let uid = process.uid.map(|uid| uid.to_string());
        let name = match process.command_line.as_slice() {
            [] => process.name.clone(),
            words => words.join(" "),
        };
        table.row([
            process.pid.to_string().into(),
            uid.unwrap_or_default().into(),
            cpu.unwrap_or_else(|| "–".to_owned()).into(),
            size(process.resident_bytes).into(),
            process.state.as_str().into(),
            name.into(),
        ]);
    }
    table
}
