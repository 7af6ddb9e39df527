//! Samples as messages of the contract: base units, and what is computed from two readings.

use std::time::Duration;

use crate::{
    engines::{
        host::{
            Cpu, DeviceIo, DiskIo, HostSample, Missing, Pressure, Process, Temperature, Traffic,
            Usage,
        },
        metrics::{ContainerRow, ContainerSample, Source},
    },
    proto::{
        BlockDeviceMetrics, ContainerMetrics, CpuMetrics, DiskMetrics, FileSystemMetrics,
        HostMetrics, InterfaceMetrics, LoadMetrics, MemoryMetrics, MissingFigures, PressureMetrics,
        ProcessMetrics, TemperatureMetrics, container_metrics,
    },
};

/// Nanoseconds as seconds.
pub(super) fn seconds(nanos: Option<u64>) -> Option<f64> {
    nanos.map(|nanos| nanos as f64 / 1e9)
}

/// Milliseconds as seconds.
pub(super) fn from_millis(millis: Option<u64>) -> Option<f64> {
    millis.map(|millis| millis as f64 / 1e3)
}

/// Microseconds as seconds.
pub(super) fn from_micros(micros: Option<u64>) -> Option<f64> {
    micros.map(|micros| micros as f64 / 1e6)
}

/// Hundredths as what they are hundredths of.
pub(super) fn from_hundredths(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64 / 100.0)
}

/// How much a counter grew in a second. None where it began anew meanwhile, or wrapped.
fn rate(now: Option<u64>, before: Option<u64>, over: Duration) -> Option<f64> {
    let grown = now?.checked_sub(before?)?;
    (over > Duration::ZERO).then(|| grown as f64 / over.as_secs_f64())
}

/// A host's sample, compared with an earlier one.
pub(super) fn host(sample: &HostSample, before: Option<&HostSample>) -> HostMetrics {
    // After a pause of the host there may be nothing between them.
    let over = before.map(|before| sample.tick.saturating_sub(before.tick));
    let before = before.filter(|_| over.is_some_and(|over| over > Duration::ZERO));
    let cores = sample.cores.iter().map(|(number, now)| {
        let earlier = before.and_then(|before| {
            let found = before.cores.iter().find(|(other, _)| other == number);
            found.map(|(_, cpu)| cpu)
        });
        cpu(Some(*number), now, earlier)
    });
    let [cpu_pressure, memory_pressure, io_pressure] = sample.pressure.map(pressure);
    let disks = sample.disks.iter().map(|(name, now)| {
        let earlier = before.and_then(|before| {
            let found = before.disks.iter().find(|(other, _)| other == name);
            found.map(|(_, io)| io)
        });
        disk(name, now, earlier.zip(over))
    });
    let interfaces = sample.interfaces.iter().map(|(name, now)| {
        let earlier = before.and_then(|before| {
            let found = before.interfaces.iter().find(|(other, _)| other == name);
            found.map(|(_, traffic)| traffic)
        });
        interface(name, now, earlier.zip(over))
    });
    HostMetrics {
        time: Some(sample.time.into()),
        measured_over: before.and(over).and_then(|over| over.try_into().ok()),
        cpu: Some(cpu(None, &sample.cpu, before.map(|before| &before.cpu))),
        cores: cores.collect(),
        load: Some(LoadMetrics {
            load1: from_hundredths(sample.load.one),
            load5: from_hundredths(sample.load.five),
            load15: from_hundredths(sample.load.fifteen),
            running_tasks: sample.load.running,
            tasks: sample.load.tasks,
        }),
        cpu_pressure,
        memory_pressure,
        io_pressure,
        memory: Some(memory(sample)),
        file_systems: sample.file_systems.iter().map(file_system).collect(),
        disks: disks.collect(),
        interfaces: interfaces.collect(),
        temperatures: sample.temperatures.iter().map(temperature).collect(),
        processes: sample.processes.iter().map(process).collect(),
        missing: missing(&sample.missing),
    }
}

fn cpu(number: Option<u32>, now: &Cpu, before: Option<&Cpu>) -> CpuMetrics {
    CpuMetrics {
        number,
        user_seconds: seconds(now.user),
        nice_seconds: seconds(now.nice),
        system_seconds: seconds(now.system),
        idle_seconds: seconds(now.idle),
        iowait_seconds: seconds(now.iowait),
        irq_seconds: seconds(now.irq),
        softirq_seconds: seconds(now.softirq),
        steal_seconds: seconds(now.steal),
        busy_ratio: before.and_then(|before| now.busy_since(before)),
    }
}

/// None where the kernel keeps none.
fn pressure(pressure: Pressure) -> Option<PressureMetrics> {
    let ratio = |hundredths: Option<u64>| hundredths.map(|value| value as f64 / 10_000.0);
    (pressure != Pressure::default()).then(|| PressureMetrics {
        some_ratio_10s: ratio(pressure.some_10),
        some_ratio_60s: ratio(pressure.some_60),
        some_ratio_300s: ratio(pressure.some_300),
        some_seconds: from_micros(pressure.some_total),
        full_ratio_10s: ratio(pressure.full_10),
        full_ratio_60s: ratio(pressure.full_60),
        full_ratio_300s: ratio(pressure.full_300),
        full_seconds: from_micros(pressure.full_total),
    })
}

fn memory(sample: &HostSample) -> MemoryMetrics {
    let memory = sample.memory;
    MemoryMetrics {
        total_bytes: memory.total,
        free_bytes: memory.free,
        available_bytes: memory.available,
        buffers_bytes: memory.buffers,
        cached_bytes: memory.cached,
        shared_bytes: memory.shared,
        slab_bytes: memory.slab,
        slab_reclaimable_bytes: memory.slab_reclaimable,
        dirty_bytes: memory.dirty,
        writeback_bytes: memory.writeback,
        anonymous_bytes: memory.anonymous,
        swap_total_bytes: memory.swap_total,
        swap_free_bytes: memory.swap_free,
    }
}

fn file_system(system: &crate::engines::host::FileSystem) -> FileSystemMetrics {
    FileSystemMetrics {
        mount_point: system.mount_point.clone(),
        device: system.device.clone(),
        r#type: system.kind.clone(),
        read_only: system.read_only,
        size_bytes: system.space.size,
        free_bytes: system.space.free,
        available_bytes: system.space.available,
        inodes: system.space.inodes,
        inodes_free: system.space.inodes_free,
    }
}

fn disk(name: &str, now: &DiskIo, before: Option<(&DiskIo, Duration)>) -> DiskMetrics {
    let per_second = |figure: fn(&DiskIo) -> Option<u64>| {
        let (before, over) = before?;
        rate(figure(now), figure(before), over)
    };
    // The kernel counts in ticks of its own.
    let busy_ratio = per_second(|io| io.busy_ms).map(|millis| (millis / 1e3).min(1.0));
    DiskMetrics {
        device: name.to_owned(),
        reads: now.reads,
        read_bytes: now.read_bytes,
        read_seconds: from_millis(now.read_ms),
        writes: now.writes,
        written_bytes: now.written_bytes,
        write_seconds: from_millis(now.write_ms),
        in_flight: now.in_flight,
        busy_seconds: from_millis(now.busy_ms),
        busy_ratio,
        read_bytes_per_second: per_second(|io| io.read_bytes),
        written_bytes_per_second: per_second(|io| io.written_bytes),
        reads_per_second: per_second(|io| io.reads),
        writes_per_second: per_second(|io| io.writes),
    }
}

fn interface(
    name: &str,
    traffic: &Traffic,
    before: Option<(&Traffic, Duration)>,
) -> InterfaceMetrics {
    let per_second = |figure: fn(&Traffic) -> Option<u64>| {
        let (before, over) = before?;
        rate(figure(traffic), figure(before), over)
    };
    InterfaceMetrics {
        name: name.to_owned(),
        received_bytes: traffic.rx_bytes,
        received_packets: traffic.rx_packets,
        receive_errors: traffic.rx_errors,
        receive_dropped: traffic.rx_dropped,
        sent_bytes: traffic.tx_bytes,
        sent_packets: traffic.tx_packets,
        send_errors: traffic.tx_errors,
        send_dropped: traffic.tx_dropped,
        received_bytes_per_second: per_second(|traffic| traffic.rx_bytes),
        sent_bytes_per_second: per_second(|traffic| traffic.tx_bytes),
    }
}

fn temperature(found: &Temperature) -> TemperatureMetrics {
    let degrees = |millis: i64| millis as f64 / 1e3;
    TemperatureMetrics {
        chip: found.chip.clone(),
        label: found.label.clone(),
        celsius: degrees(found.celsius),
        high_celsius: found.high.map(degrees),
        critical_celsius: found.critical.map(degrees),
        device: found.device.clone(),
        sensor: found.sensor.clone(),
    }
}

fn process(process: &Process) -> ProcessMetrics {
    ProcessMetrics {
        pid: process.pid,
        name: process.name.clone(),
        cpus: process.cpus,
        cpu_seconds: seconds(process.cpu),
        resident_bytes: process.resident,
        threads: process.threads.and_then(|count| count.try_into().ok()),
        uid: process.uid,
        state: process.state.clone(),
        command_line: process.command_line.clone(),
    }
}

/// Why figures are missing.
pub(super) fn missing(missing: &[Missing]) -> Vec<MissingFigures> {
    let told = missing.iter().map(|one| MissingFigures {
        source: one.source.clone(),
        reason: one.reason.clone(),
    });
    told.collect()
}

/// A container of a sample, compared with an earlier one.
pub(super) fn container(
    row: &ContainerRow,
    sample: &ContainerSample,
    before: Option<&ContainerSample>,
) -> ContainerMetrics {
    let usage = &row.usage;
    let over = before.map(|before| sample.tick.saturating_sub(before.tick));
    // One that was started again counts from zero: what it did since then is not known to belong to this time.
    let earlier = before
        .and_then(|before| before.usage(&row.id))
        .filter(|earlier| usage.cpu >= earlier.cpu);
    let per_second =
        |figure: fn(&Usage) -> Option<u64>| rate(figure(usage), figure(earlier?), over?);
    let cpu_percent = earlier.and_then(|earlier| usage.cpu_percent_since(earlier));
    let source = match row.source {
        Source::Cgroup => container_metrics::Source::Cgroup,
        Source::Engine => container_metrics::Source::Engine,
    };
    ContainerMetrics {
        id: row.id.to_string(),
        name: row.name.to_string(),
        time: Some(sample.time.into()),
        measured_over: earlier.and(over).and_then(|over| over.try_into().ok()),
        source: source.into(),
        cpu_percent,
        cpu_seconds: seconds(usage.cpu),
        cpu_user_seconds: seconds(usage.cpu_user),
        cpu_system_seconds: seconds(usage.cpu_system),
        cpu_periods: usage.periods,
        cpu_throttled_periods: usage.throttled_periods,
        cpu_throttled_seconds: seconds(usage.throttled),
        memory_usage_bytes: usage.memory,
        memory_working_set_bytes: usage.working_set,
        memory_anonymous_bytes: usage.anonymous,
        memory_cache_bytes: usage.cache,
        memory_limit_bytes: usage.memory_limit,
        swap_bytes: usage.swap,
        received_bytes: usage.rx_bytes,
        received_packets: usage.rx_packets,
        receive_errors: usage.rx_errors,
        receive_dropped: usage.rx_dropped,
        sent_bytes: usage.tx_bytes,
        sent_packets: usage.tx_packets,
        send_errors: usage.tx_errors,
        send_dropped: usage.tx_dropped,
        read_bytes: usage.read_bytes,
        written_bytes: usage.written_bytes,
        reads: usage.reads,
        writes: usage.writes,
        pids: usage.pids,
        pids_limit: usage.pids_limit,
        received_bytes_per_second: per_second(|usage| usage.rx_bytes),
        sent_bytes_per_second: per_second(|usage| usage.tx_bytes),
        read_bytes_per_second: per_second(|usage| usage.read_bytes),
        written_bytes_per_second: per_second(|usage| usage.written_bytes),
        block_devices: row.devices.iter().map(block_device).collect(),
    }
}

fn block_device(io: &DeviceIo) -> BlockDeviceMetrics {
    let (major, minor) = io.number;
    BlockDeviceMetrics {
        device: match io.name.as_str() {
            "" => format!("{major}:{minor}"),
            name => name.to_owned(),
        },
        read_bytes: io.read_bytes,
        written_bytes: io.written_bytes,
        reads: io.reads,
        writes: io.writes,
    }
}

#[cfg(test)]
#[path = "convert_test.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
