//! The figures of containers, as cAdvisor names them.

use super::super::{
    convert::seconds,
    exposition::{
        Exposition,
        Kind::{self, Counter, Gauge},
        Value,
    },
};
use crate::engines::{
    host::{DeviceIo, Usage},
    metrics::ContainerSample,
};

type Figure = fn(&Usage) -> Option<u64>;

/// Name, help, figure; times in nanoseconds.
const SECONDS: [(&str, &str, Figure); 4] = [
    (
        "cpu_usage",
        "Cumulative cpu time consumed in seconds.",
        |u| u.cpu,
    ),
    (
        "cpu_user",
        "Cumulative user cpu time consumed in seconds.",
        |u| u.cpu_user,
    ),
    (
        "cpu_system",
        "Cumulative system cpu time consumed in seconds.",
        |u| u.cpu_system,
    ),
    (
        "cpu_cfs_throttled",
        "Total time duration the container has been throttled.",
        |u| u.throttled,
    ),
];

const COUNTERS: [(&str, &str, Figure); 10] = [
    (
        "cpu_cfs_periods",
        "Number of elapsed enforcement period intervals.",
        |u| u.periods,
    ),
    (
        "cpu_cfs_throttled_periods",
        "Number of throttled period intervals.",
        |u| u.throttled_periods,
    ),
    (
        "network_receive_bytes",
        "Cumulative count of bytes received.",
        |u| u.rx_bytes,
    ),
    (
        "network_receive_packets",
        "Cumulative count of packets received.",
        |u| u.rx_packets,
    ),
    (
        "network_receive_errors",
        "Cumulative count of errors encountered while receiving.",
        |u| u.rx_errors,
    ),
    (
        "network_receive_packets_dropped",
        "Cumulative count of packets dropped while receiving.",
        |u| u.rx_dropped,
    ),
    (
        "network_transmit_bytes",
        "Cumulative count of bytes transmitted.",
        |u| u.tx_bytes,
    ),
    (
        "network_transmit_packets",
        "Cumulative count of packets transmitted.",
        |u| u.tx_packets,
    ),
    (
        "network_transmit_errors",
        "Cumulative count of errors encountered while transmitting.",
        |u| u.tx_errors,
    ),
    (
        "network_transmit_packets_dropped",
        "Cumulative count of packets dropped while transmitting.",
        |u| u.tx_dropped,
    ),
];

/// Name, help, the figure of one device, that of all.
type OfDevices = (
    &'static str,
    &'static str,
    fn(&DeviceIo) -> Option<u64>,
    Figure,
);

const OF_DEVICES: [OfDevices; 4] = [
    (
        "fs_reads_bytes",
        "Cumulative count of bytes read.",
        |io| io.read_bytes,
        |u| u.read_bytes,
    ),
    (
        "fs_writes_bytes",
        "Cumulative count of bytes written.",
        |io| io.written_bytes,
        |u| u.written_bytes,
    ),
    (
        "fs_reads",
        "Cumulative count of reads completed.",
        |io| io.reads,
        |u| u.reads,
    ),
    (
        "fs_writes",
        "Cumulative count of writes completed.",
        |io| io.writes,
        |u| u.writes,
    ),
];

const GAUGES: [(&str, &str, Figure); 8] = [
    (
        "memory_usage_bytes",
        "Current memory usage, the cache of files included.",
        |u| u.memory,
    ),
    (
        "memory_working_set_bytes",
        "Current memory usage less the cache that was not used lately.",
        |u| u.working_set,
    ),
    ("memory_rss", "Size of RSS in bytes.", |u| u.anonymous),
    ("memory_cache", "Total page cache memory.", |u| u.cache),
    ("memory_swap", "Container swap usage in bytes.", |u| u.swap),
    (
        "spec_memory_limit_bytes",
        "Memory limit for the container; not there without one.",
        |u| u.memory_limit,
    ),
    (
        "threads",
        "Number of threads running inside the container.",
        |u| u.pids,
    ),
    (
        "threads_max",
        "Maximum number of threads allowed inside the container; not there without one.",
        |u| u.pids_limit,
    ),
];

/// Writes them down.
pub(super) fn write(text: &mut Exposition, sample: &ContainerSample) {
    let mut tell =
        |kind: Kind, name: &str, help: &str, figure: &dyn Fn(&Usage) -> Option<Value>| {
            let mut family = text.family(kind, name, help);
            for row in &sample.rows {
                family.sample(&[("id", &row.id), ("name", &row.name)], figure(&row.usage));
            }
        };
    for (what, help, figure) in SECONDS {
        let name = format!("container_{what}_seconds_total");
        tell(Counter, &name, help, &|usage| {
            seconds(figure(usage)).map(Into::into)
        });
    }
    for (what, help, figure) in COUNTERS {
        let name = format!("container_{what}_total");
        tell(Counter, &name, help, &|usage| figure(usage).map(Into::into));
    }
    for (what, help, figure) in GAUGES {
        let name = format!("container_{what}");
        tell(Gauge, &name, help, &|usage| figure(usage).map(Into::into));
    }
    for (what, help, figure, of_all) in OF_DEVICES {
        let name = format!("container_{what}_total");
        let mut family = text.family(Counter, &name, help);
        for row in &sample.rows {
            let mut tell = |device: &str, value: Option<u64>| {
                let labels = [("id", &*row.id), ("name", &*row.name), ("device", device)];
                family.sample(&labels, value);
            };
            for io in &row.devices {
                let device = match io.name.as_str() {
                    "" => format!("{}:{}", io.number.0, io.number.1),
                    name => format!("/dev/{name}"),
                };
                tell(&device, figure(io));
            }
            // It has done nothing yet, or nothing that is counted.
            if row.devices.is_empty() {
                tell("", of_all(&row.usage));
            }
        }
    }
}
