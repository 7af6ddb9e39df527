//! The figures of a host as JSON, for programs.

use serde_json::{Value, json};
use turbopanel_control_plane::proto::agent::{
    CpuMetrics, DiskMetrics, FileSystemMetrics, HostMetrics, InterfaceMetrics, PressureMetrics,
    ProcessMetrics, TemperatureMetrics,
};

use super::moment;

/// All figures of a host.
pub(super) fn host(host: &HostMetrics) -> Value {
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
            "slab_bytes": memory.slab_bytes,
            "slab_reclaimable_bytes": memory.slab_reclaimable_bytes,
            "dirty_bytes": memory.dirty_bytes,
            "writeback_bytes": memory.writeback_bytes,
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
        "read_seconds": disk.read_seconds,
        "writes": disk.writes,
        "written_bytes": disk.written_bytes,
        "write_seconds": disk.write_seconds,
        "in_flight": disk.in_flight,
        "busy_seconds": disk.busy_seconds,
        "busy_ratio": disk.busy_ratio,
        "reads_per_second": disk.reads_per_second,
        "read_bytes_per_second": disk.read_bytes_per_second,
        "writes_per_second": disk.writes_per_second,
        "written_bytes_per_second": disk.written_bytes_per_second,
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
        "received_bytes_per_second": one.received_bytes_per_second,
        "sent_bytes_per_second": one.sent_bytes_per_second,
    })
}

fn temperature(found: &TemperatureMetrics) -> Value {
    json!({
        "chip": found.chip,
        "label": found.label,
        "device": found.device,
        "sensor": found.sensor,
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
