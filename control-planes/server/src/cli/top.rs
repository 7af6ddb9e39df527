//! `turbopanel top`: how an agent's host is doing, and which processes make it so.

use serde_json::{Value, json};
use turbopanel_control_plane::proto::agent::{
    CpuMetrics, DiskMetrics, FileSystemMetrics, GetHostMetricsRequest, HostMetrics,
    InterfaceMetrics, PressureMetrics, ProcessMetrics, TemperatureMetrics,
    metrics_service_client::MetricsServiceClient,
};

use super::{
    args::Top,
    colour::Colour,
    connection::{Connection, prompt},
    failure::Failure,
    figures, moment, note,
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
        print_json(&for_programs(&host))?;
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
        let used = part(system.size_bytes, system.available_bytes);
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
    let mut table = Table::new(&["DISK", "READ", "WRITTEN", "BUSY"]);
    for disk in &host.disks {
        table.row([
            disk.device.as_str().into(),
            size(disk.read_bytes).into(),
            size(disk.written_bytes).into(),
            Cell::new(&percent(disk.busy_ratio), heat(disk.busy_ratio)),
        ]);
    }
    table
}

fn interfaces(host: &HostMetrics) -> Table {
    let mut table = Table::new(&["INTERFACE", "RECEIVED", "SENT", "ERRORS", "DROPPED"]);
    let sum = |one: Option<u64>, other: Option<u64>| {
        let sum = one.zip(other).map(|(one, other)| one.saturating_add(other));
        sum.map_or_else(|| "–".to_owned(), |sum| sum.to_string())
    };
    for one in &host.interfaces {
        table.row([
            one.name.as_str().into(),
            size(one.received_bytes).into(),
            size(one.sent_bytes).into(),
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

fn for_programs(host: &HostMetrics) -> Value {
    let over = host
        .measured_over
        .and_then(|over| std::time::Duration::try_from(over).ok());
    json!({
        "time": moment::for_programs(host.time.as_ref()),
        "measured_over_seconds": over.map(|over| over.as_secs_f64()),
        "cpu": host.cpu.as_ref().map(cpu),
        "cores": host.cores.iter().map(cpu).collect::<Vec<_>>(),
        "load": host.load.as_ref().map(|load| json!({
            "load1": load.load1,
            "load5": load.load5,
            "load15": load.load15,
            "running_tasks": load.running_tasks,
            "tasks": load.tasks,
        })),
        "pressure": {
            "cpu": host.cpu_pressure.as_ref().map(pressure),
            "memory": host.memory_pressure.as_ref().map(pressure),
            "io": host.io_pressure.as_ref().map(pressure),
        },
        "memory": host.memory.as_ref().map(|memory| json!({
            "total_bytes": memory.total_bytes,
            "free_bytes": memory.free_bytes,
            "available_bytes": memory.available_bytes,
            "buffers_bytes": memory.buffers_bytes,
            "cached_bytes": memory.cached_bytes,
            "shared_bytes": memory.shared_bytes,
            "anonymous_bytes": memory.anonymous_bytes,
            "swap_total_bytes": memory.swap_total_bytes,
            "swap_free_bytes": memory.swap_free_bytes,
        })),
        "file_systems": host.file_systems.iter().map(file_system).collect::<Vec<_>>(),
        "disks": host.disks.iter().map(disk).collect::<Vec<_>>(),
        "interfaces": host.interfaces.iter().map(interface).collect::<Vec<_>>(),
        "temperatures": host.temperatures.iter().map(temperature).collect::<Vec<_>>(),
        "processes": host.processes.iter().map(process).collect::<Vec<_>>(),
        "missing": host.missing.iter().map(|missing| json!({
            "source": missing.source,
            "reason": missing.reason,
        })).collect::<Vec<_>>(),
    })
}

fn cpu(cpu: &CpuMetrics) -> Value {
    json!({
        "number": cpu.number,
        "busy_ratio": cpu.busy_ratio,
        "user_seconds": cpu.user_seconds,
        "nice_seconds": cpu.nice_seconds,
        "system_seconds": cpu.system_seconds,
        "idle_seconds": cpu.idle_seconds,
        "iowait_seconds": cpu.iowait_seconds,
        "irq_seconds": cpu.irq_seconds,
        "softirq_seconds": cpu.softirq_seconds,
        "steal_seconds": cpu.steal_seconds,
    })
}

fn pressure(pressure: &PressureMetrics) -> Value {
    json!({
        "some_ratio_10s": pressure.some_ratio_10s,
        "some_ratio_60s": pressure.some_ratio_60s,
        "some_ratio_300s": pressure.some_ratio_300s,
        "some_seconds": pressure.some_seconds,
        "full_ratio_10s": pressure.full_ratio_10s,
        "full_ratio_60s": pressure.full_ratio_60s,
        "full_ratio_300s": pressure.full_ratio_300s,
        "full_seconds": pressure.full_seconds,
    })
}

fn file_system(system: &FileSystemMetrics) -> Value {
    json!({
        "mount_point": system.mount_point,
        "device": system.device,
        "type": system.r#type,
        "read_only": system.read_only,
        "size_bytes": system.size_bytes,
        "free_bytes": system.free_bytes,
        "available_bytes": system.available_bytes,
        "inodes": system.inodes,
        "inodes_free": system.inodes_free,
    })
}

fn disk(disk: &DiskMetrics) -> Value {
    json!({
        "device": disk.device,
        "reads": disk.reads,
        "read_bytes": disk.read_bytes,
        "writes": disk.writes,
        "written_bytes": disk.written_bytes,
        "busy_seconds": disk.busy_seconds,
        "busy_ratio": disk.busy_ratio,
    })
}

fn interface(one: &InterfaceMetrics) -> Value {
    json!({
        "name": one.name,
        "received_bytes": one.received_bytes,
        "received_packets": one.received_packets,
        "receive_errors": one.receive_errors,
        "receive_dropped": one.receive_dropped,
        "sent_bytes": one.sent_bytes,
        "sent_packets": one.sent_packets,
        "send_errors": one.send_errors,
        "send_dropped": one.send_dropped,
    })
}

fn temperature(found: &TemperatureMetrics) -> Value {
    json!({
        "chip": found.chip,
        "label": found.label,
        "celsius": found.celsius,
        "high_celsius": found.high_celsius,
        "critical_celsius": found.critical_celsius,
    })
}

fn process(process: &ProcessMetrics) -> Value {
    json!({
        "pid": process.pid,
        "name": process.name,
        "state": process.state,
        "uid": process.uid,
        "cpus": process.cpus,
        "cpu_seconds": process.cpu_seconds,
        "resident_bytes": process.resident_bytes,
        "threads": process.threads,
        "command_line": process.command_line,
    })
}
