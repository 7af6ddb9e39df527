//! The host's figures, as node_exporter names them.

use super::super::{
    convert::{from_hundredths, from_micros, from_millis, seconds},
    exposition::{
        Exposition,
        Kind::{Counter, Gauge},
        Value,
    },
};
use crate::engines::host::{
    Cpu, DiskIo, FileSystem, HostSample, Memory, Space, Temperature, Traffic,
};

/// Writes them down.
pub(super) fn write(text: &mut Exposition, sample: &HostSample) {
    let name = "node_cpu_seconds_total";
    let mut family = text.family(Counter, name, "Seconds the CPUs spent in each mode.");
    for (number, cpu) in &sample.cores {
        let number = number.to_string();
        for (mode, value) in modes(cpu) {
            family.sample(&[("cpu", &number), ("mode", mode)], seconds(value));
        }
    }
    let load = &sample.load;
    text.gauge("node_load1", "1m load average.", from_hundredths(load.one));
    text.gauge("node_load5", "5m load average.", from_hundredths(load.five));
    let fifteen = from_hundredths(load.fifteen);
    text.gauge("node_load15", "15m load average.", fifteen);
    let help = "Number of tasks in runnable state.";
    text.gauge("node_procs_running", help, load.running);
    pressure(text, sample);
    memory(text, &sample.memory);
    file_systems(text, sample);
    disks(text, sample);
    network(text, sample);
    temperatures(text, &sample.temperatures);
}

fn temperatures(text: &mut Exposition, all: &[Temperature]) {
    type Figure = fn(&Temperature) -> Option<i64>;
    let families: [(&str, &str, Figure); 3] = [
        ("temp", "Temperature now.", |found| Some(found.celsius)),
        (
            "temp_max",
            "Temperature from which on it is high.",
            |found| found.high,
        ),
        (
            "temp_crit",
            "Temperature from which on it is critical.",
            |found| found.critical,
        ),
    ];
    let of_chips = || all.iter().filter(|found| !found.sensor.is_empty());
    for (what, help, figure) in families {
        let name = format!("node_hwmon_{what}_celsius");
        let mut family = text.family(Gauge, &name, help);
        for found in of_chips() {
            let labels = [("chip", &*found.device), ("sensor", &*found.sensor)];
            family.sample(&labels, figure(found).map(|millis| millis as f64 / 1e3));
        }
    }
    let help = "What kind of chip it is.";
    let mut family = text.family(Gauge, "node_hwmon_chip_names", help);
    for found in of_chips().filter(|found| !found.chip.is_empty()) {
        let labels = [("chip", &*found.device), ("chip_name", &*found.chip)];
        family.sample(&labels, Some(true));
    }
    let help = "What the sensor measures.";
    let mut family = text.family(Gauge, "node_hwmon_sensor_label", help);
    for found in of_chips().filter(|found| !found.label.is_empty()) {
        let labels = [
            ("chip", &*found.device),
            ("sensor", &*found.sensor),
            ("label", &*found.label),
        ];
        family.sample(&labels, Some(true));
    }
    let help = "Zone temperature in Celsius.";
    let mut family = text.family(Gauge, "node_thermal_zone_temp", help);
    for found in all.iter().filter(|found| found.sensor.is_empty()) {
        let zone = &*found.device;
        let zone = zone.strip_prefix("thermal_zone").unwrap_or(zone);
        let labels = [("zone", zone), ("type", &*found.chip)];
        family.sample(&labels, Some(found.celsius as f64 / 1e3));
    }
}

fn modes(cpu: &Cpu) -> [(&'static str, Option<u64>); 8] {
    [
        ("user", cpu.user),
        ("nice", cpu.nice),
        ("system", cpu.system),
        ("idle", cpu.idle),
        ("iowait", cpu.iowait),
        ("irq", cpu.irq),
        ("softirq", cpu.softirq),
        ("steal", cpu.steal),
    ]
}

fn pressure(text: &mut Exposition, sample: &HostSample) {
    let [cpu, memory, io] = &sample.pressure;
    let families = [
        (
            "cpu_waiting",
            "some task waited for CPU time",
            cpu.some_total,
        ),
        (
            "memory_waiting",
            "some task waited for memory",
            memory.some_total,
        ),
        (
            "memory_stalled",
            "no task could go on for want of memory",
            memory.full_total,
        ),
        ("io_waiting", "some task waited for I/O", io.some_total),
        ("io_stalled", "no task could go on for I/O", io.full_total),
    ];
    for (what, when, micros) in families {
        let name = format!("node_pressure_{what}_seconds_total");
        text.counter(
            &name,
            &format!("Total time in seconds that {when}."),
            from_micros(micros),
        );
    }
}

fn memory(text: &mut Exposition, memory: &Memory) {
    let figures = [
        ("MemTotal", memory.total),
        ("MemFree", memory.free),
        ("MemAvailable", memory.available),
        ("Buffers", memory.buffers),
        ("Cached", memory.cached),
        ("Shmem", memory.shared),
        ("Slab", memory.slab),
        ("SReclaimable", memory.slab_reclaimable),
        ("Dirty", memory.dirty),
        ("Writeback", memory.writeback),
        ("AnonPages", memory.anonymous),
        ("SwapTotal", memory.swap_total),
        ("SwapFree", memory.swap_free),
    ];
    for (field, bytes) in figures {
        let name = format!("node_memory_{field}_bytes");
        text.gauge(
            &name,
            &format!("Memory information field {field}_bytes."),
            bytes,
        );
    }
}

fn file_systems(text: &mut Exposition, sample: &HostSample) {
    type Figure = fn(&Space) -> Option<u64>;
    let families: [(&str, &str, Figure); 5] = [
        ("size_bytes", "Filesystem size in bytes.", |space| {
            space.size
        }),
        ("free_bytes", "Filesystem free space in bytes.", |space| {
            space.free
        }),
        (
            "avail_bytes",
            "Filesystem space available to non-root users in bytes.",
            |space| space.available,
        ),
        ("files", "Filesystem total file nodes.", |space| {
            space.inodes
        }),
        ("files_free", "Filesystem total free file nodes.", |space| {
            space.inodes_free
        }),
    ];
    let labels = |system: &FileSystem| {
        [
            ("device", system.device.clone()),
            ("fstype", system.kind.clone()),
            ("mountpoint", system.mount_point.clone()),
        ]
    };
    let mut tell = |name: &str, help: &str, of: &dyn Fn(&FileSystem) -> Option<u64>| {
        let mut family = text.family(Gauge, name, help);
        for system in &sample.file_systems {
            let labels = labels(system);
            let labels: Vec<_> = labels.iter().map(|(name, text)| (*name, &**text)).collect();
            family.sample(&labels, of(system));
        }
    };
    for (what, help, figure) in families {
        let name = format!("node_filesystem_{what}");
        tell(&name, help, &|system| figure(&system.space));
    }
    let help = "Filesystem read-only status.";
    tell("node_filesystem_readonly", help, &|system| {
        Some(system.read_only.into())
    });
}

fn disks(text: &mut Exposition, sample: &HostSample) {
    type Figure = fn(&DiskIo) -> Option<Value>;
    let families: [(&str, &str, Figure); 7] = [
        (
            "reads_completed_total",
            "The total number of reads completed successfully.",
            |io| io.reads.map(Into::into),
        ),
        (
            "read_bytes_total",
            "The total number of bytes read successfully.",
            |io| io.read_bytes.map(Into::into),
        ),
        (
            "read_time_seconds_total",
            "The total number of seconds spent by all reads.",
            |io| from_millis(io.read_ms).map(Into::into),
        ),
        (
            "writes_completed_total",
            "The total number of writes completed successfully.",
            |io| io.writes.map(Into::into),
        ),
        (
            "written_bytes_total",
            "The total number of bytes written successfully.",
            |io| io.written_bytes.map(Into::into),
        ),
        (
            "write_time_seconds_total",
            "The total number of seconds spent by all writes.",
            |io| from_millis(io.write_ms).map(Into::into),
        ),
        (
            "io_time_seconds_total",
            "Total seconds spent doing I/Os.",
            |io| from_millis(io.busy_ms).map(Into::into),
        ),
    ];
    for (what, help, figure) in families {
        let name = format!("node_disk_{what}");
        let mut family = text.family(Counter, &name, help);
        for (device, io) in &sample.disks {
            family.sample(&[("device", device)], figure(io));
        }
    }
    let help = "The number of I/Os currently in progress.";
    let mut family = text.family(Gauge, "node_disk_io_now", help);
    for (device, io) in &sample.disks {
        family.sample(&[("device", device)], io.in_flight);
    }
}

fn network(text: &mut Exposition, sample: &HostSample) {
    type Figure = fn(&Traffic) -> Option<u64>;
    let families: [(&str, Figure); 8] = [
        ("receive_bytes", |traffic| traffic.rx_bytes),
        ("receive_packets", |traffic| traffic.rx_packets),
        ("receive_errs", |traffic| traffic.rx_errors),
        ("receive_drop", |traffic| traffic.rx_dropped),
        ("transmit_bytes", |traffic| traffic.tx_bytes),
        ("transmit_packets", |traffic| traffic.tx_packets),
        ("transmit_errs", |traffic| traffic.tx_errors),
        ("transmit_drop", |traffic| traffic.tx_dropped),
    ];
    for (what, figure) in families {
        let name = format!("node_network_{what}_total");
        let help = format!("Network device statistic {what}.");
        let mut family = text.family(Counter, &name, &help);
        for (device, traffic) in &sample.interfaces {
            family.sample(&[("device", device)], figure(traffic));
        }
    }
}
