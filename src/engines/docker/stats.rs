//! What the engine says that its containers use, for hosts whose cgroup files the agent cannot read; and which
//! containers run, in few words.

use std::collections::HashMap;

use bollard::{
    models::{ContainerBlkioStatEntry, ContainerStatsResponse},
    query_parameters::{InspectContainerOptions, StatsOptions},
};
use futures_util::StreamExt;

use super::{
    engine::Engine,
    error::{Error, Subject},
    names::ContainerRef,
};
use crate::engines::host::{DeviceIo, Traffic, Usage};

/// Devices of one container that are told, at most.
const DEVICES: usize = 64;

/// A container's first process, and whether it shares the host's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstProcess {
    /// Its id on the engine's host. None when it does not run.
    pub pid: Option<u32>,
    /// It has the host's network, whose figures are not the container's.
    pub host_network: bool,
}

impl Engine {
    /// Id and name of each container that runs.
    pub async fn running(&self) -> Result<Vec<(String, String)>, Error> {
        let listed = self.containers(false, &HashMap::new()).await?;
        let named = listed.into_iter().map(|one| (one.id, one.name));
        Ok(named.collect())
    }

    /// The first process of a container.
    pub async fn first_process(&self, container: &ContainerRef) -> Result<FirstProcess, Error> {
        let name = container.as_str();
        let call = self
            .docker()
            .inspect_container(name, None::<InspectContainerOptions>);
        let found = self.call(Subject::Container(name), call).await?;
        let pid = found.state.and_then(|state| state.pid);
        let mode = found.host_config.and_then(|config| config.network_mode);
        Ok(FirstProcess {
            pid: pid
                .and_then(|pid| u32::try_from(pid).ok())
                .filter(|pid| *pid > 0),
            host_network: mode.as_deref() == Some("host"),
        })
    }

    /// What a container uses, by the engine's own reading. An engine that knows `one-shot` answers at once, an older
    /// one after a second or two.
    pub async fn usage(&self, container: &ContainerRef) -> Result<(Usage, Vec<DeviceIo>), Error> {
        let options = StatsOptions {
            stream: false,
            one_shot: true,
        };
        let name = container.as_str();
        let mut answers = Box::pin(self.docker().stats(name, Some(options)));
        let call = async { answers.next().await.transpose() };
        let answer = self.call(Subject::Container(name), call).await?;
        answer
            .map(usage)
            .ok_or_else(|| Error::Protocol("the engine sent no figures".to_owned()))
    }
}

fn usage(stats: ContainerStatsResponse) -> (Usage, Vec<DeviceIo>) {
    let mut devices = Vec::new();
    let mut usage = Usage::default();
    if let Some(cpu) = stats.cpu_stats {
        usage.host_cpu = cpu.system_cpu_usage;
        usage.host_cpus = cpu.online_cpus.map(u64::from);
        if let Some(own) = cpu.cpu_usage {
            usage.cpu = own.total_usage;
            usage.cpu_user = own.usage_in_usermode;
            usage.cpu_system = own.usage_in_kernelmode;
        }
        if let Some(throttling) = cpu.throttling_data {
            usage.periods = throttling.periods;
            usage.throttled_periods = throttling.throttled_periods;
            usage.throttled = throttling.throttled_time;
        }
    }
    if let Some(memory) = stats.memory_stats {
        let stats = memory.stats.unwrap_or_default();
        // The first that is there: version 1 counts what lies below the container as "total".
        let first = |names: [&str; 2]| names.iter().find_map(|name| stats.get(*name).copied());
        usage.memory = memory.usage;
        usage.anonymous = first(["total_rss", "anon"]);
        usage.cache = first(["total_cache", "file"]);
        usage.swap = first(["total_swap", "swap"]);
        usage.memory_limit = memory.limit;
        let inactive = first(["total_inactive_file", "inactive_file"]);
        usage.working_set = memory.usage.map(|all| {
            let rest = inactive.and_then(|inactive| all.checked_sub(inactive));
            rest.filter(|rest| *rest > 0).unwrap_or(all)
        });
    }
    let mut sum = [Some(0_u64); Traffic::COUNT];
    for network in stats.networks.iter().flat_map(HashMap::values) {
        let values = [
            network.rx_bytes,
            network.rx_packets,
            network.rx_errors,
            network.rx_dropped,
            network.tx_bytes,
            network.tx_packets,
            network.tx_errors,
            network.tx_dropped,
        ];
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum = sum.and_then(|sum| Some(sum.saturating_add(value?)));
        }
    }
    // Without interfaces of its own the engine leaves them out.
    if stats.networks.is_some() {
        usage.set_traffic(&Traffic::from_values(&sum));
    }
    if let Some(io) = stats.blkio_stats {
        let bytes = io.io_service_bytes_recursive.unwrap_or_default();
        [usage.read_bytes, usage.written_bytes] = operations(&bytes);
        let count = io.io_serviced_recursive.unwrap_or_default();
        [usage.reads, usage.writes] = operations(&count);
        by_device(&bytes, &mut devices, |one| {
            [&mut one.read_bytes, &mut one.written_bytes]
        });
        by_device(&count, &mut devices, |one| {
            [&mut one.reads, &mut one.writes]
        });
    }
    if let Some(pids) = stats.pids_stats {
        usage.pids = pids.current;
        // Newer engines say the largest number when there is no limit.
        usage.pids_limit = pids.limit.filter(|limit| *limit > 0 && *limit < u64::MAX);
    }
    (usage, devices)
}

/// Reads and writes of each device. Newer engines leave out what is zero.
fn by_device(
    entries: &[ContainerBlkioStatEntry],
    found: &mut Vec<DeviceIo>,
    figures: fn(&mut DeviceIo) -> [&mut Option<u64>; 2],
) {
    for entry in entries {
        let part = |number: Option<u64>| u32::try_from(number?).ok();
        let (Some(major), Some(minor)) = (part(entry.major), part(entry.minor)) else {
            continue;
        };
        let known = found.iter().position(|one| one.number == (major, minor));
        let at = known.unwrap_or(found.len());
        if known.is_none() && at < DEVICES {
            found.push(DeviceIo::of((major, minor)));
        }
        let Some(device) = found.get_mut(at) else {
            continue;
        };
        let [read, written] = figures(device);
        match entry.op.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("read") => *read = entry.value,
            Some("write") => *written = entry.value,
            _ => {}
        }
    }
}

/// Reads and writes of all devices. An engine without entries has counted none.
fn operations(entries: &[ContainerBlkioStatEntry]) -> [Option<u64>; 2] {
    ["read", "write"].map(|operation| {
        let of = |entry: &&ContainerBlkioStatEntry| {
            let named = entry.op.as_deref();
            named.is_some_and(|named| named.eq_ignore_ascii_case(operation))
        };
        let values = entries.iter().filter(of);
        Some(values.fold(0, |sum: u64, entry| {
            sum.saturating_add(entry.value.unwrap_or(0))
        }))
    })
}
