//! The cgroup files, parsed. Nothing here opens a file: fixtures and the kernel are read alike.

use crate::engines::host::{
    DeviceIo, Usage,
    text::{lines, number, pairs, single, words},
};

/// From here on a limit of version 1 is none: it is the largest number of pages, in bytes.
const UNLIMITED: u64 = 0x7fff_ffff_0000_0000;
const TICK_NS: u64 = 1_000_000_000 / 100;

/// The numbers of a file by their names.
fn find<const N: usize>(text: &[u8], names: [&str; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    for (key, value) in pairs(text) {
        if let Some(index) = names.iter().position(|name| name.as_bytes() == key)
            && let Some(place) = found.get_mut(index)
        {
            *place = value;
        }
    }
    found
}

/// Memory less the cache that was not used lately, as `docker stats` shows it.
fn working_set(usage: Option<u64>, inactive_file: Option<u64>) -> Option<u64> {
    let usage = usage?;
    // Where it is larger, the engine shows the usage as it is.
    Some(
        usage
            .checked_sub(inactive_file?)
            .filter(|rest| *rest > 0)
            .unwrap_or(usage),
    )
}

/// Version 1, `cpuacct.usage`.
pub(crate) fn cpuacct_usage(text: &[u8], usage: &mut Usage) {
    usage.cpu = single(text);
}

/// Version 1, `cpuacct.stat`: ticks.
pub(crate) fn cpuacct_stat(text: &[u8], usage: &mut Usage) {
    let [user, system] = find(text, ["user", "system"]);
    let ns = |ticks: Option<u64>| ticks?.checked_mul(TICK_NS);
    (usage.cpu_user, usage.cpu_system) = (ns(user), ns(system));
}

/// Version 1, `cpu.stat`.
pub(crate) fn cpu_stat_v1(text: &[u8], usage: &mut Usage) {
    [usage.periods, usage.throttled_periods, usage.throttled] =
        find(text, ["nr_periods", "nr_throttled", "throttled_time"]);
}

/// Version 2, `cpu.stat`: microseconds.
pub(crate) fn cpu_stat_v2(text: &[u8], usage: &mut Usage) {
    let names = [
        "usage_usec",
        "user_usec",
        "system_usec",
        "nr_periods",
        "nr_throttled",
        "throttled_usec",
    ];
    let [all, user, system, periods, throttled_periods, throttled] = find(text, names);
    let ns = |micros: Option<u64>| micros?.checked_mul(1000);
    usage.cpu = ns(all);
    usage.cpu_user = ns(user);
    usage.cpu_system = ns(system);
    usage.periods = periods;
    usage.throttled_periods = throttled_periods;
    usage.throttled = ns(throttled);
}

/// `memory.usage_in_bytes` or `memory.current`.
pub(crate) fn memory_usage(text: &[u8], usage: &mut Usage) {
    usage.memory = single(text);
}

/// Version 1, `memory.stat`, after the usage.
pub(crate) fn memory_stat_v1(text: &[u8], usage: &mut Usage) {
    let names = [
        "total_rss",
        "total_cache",
        "total_inactive_file",
        "total_swap",
        "hierarchical_memory_limit",
    ];
    let [anonymous, cache, inactive, swap, limit] = find(text, names);
    usage.anonymous = anonymous;
    usage.cache = cache;
    usage.swap = swap;
    usage.memory_limit = limit.filter(|limit| *limit < UNLIMITED);
    usage.working_set = working_set(usage.memory, inactive);
}

/// Version 2, `memory.stat`, after the usage.
pub(crate) fn memory_stat_v2(text: &[u8], usage: &mut Usage) {
    let [anonymous, cache, inactive] = find(text, ["anon", "file", "inactive_file"]);
    usage.anonymous = anonymous;
    usage.cache = cache;
    usage.working_set = working_set(usage.memory, inactive);
}

/// Version 2, `memory.max`.
pub(crate) fn memory_max(text: &[u8], usage: &mut Usage) {
    usage.memory_limit = single(text);
}

/// Version 2, `memory.swap.current`.
pub(crate) fn swap_current(text: &[u8], usage: &mut Usage) {
    usage.swap = single(text);
}

/// `pids.current`.
pub(crate) fn pids(text: &[u8], usage: &mut Usage) {
    usage.pids = single(text);
}

/// `pids.max`.
pub(crate) fn pids_max(text: &[u8], usage: &mut Usage) {
    usage.pids_limit = single(text);
}

/// Version 1, a file of `blkio` such as "8:0 Read 4096": reads and writes of all devices.
fn blkio(text: &[u8]) -> [Option<u64>; 2] {
    let mut sums = [Some(0_u64); 2];
    for line in lines(text) {
        let mut words = words(line);
        let (device, operation) = (words.next(), words.next());
        let [reads, writes] = &mut sums;
        // The last line is "Total 0", without a device.
        let sum = match operation {
            Some(b"Read") => reads,
            Some(b"Write") => writes,
            _ => continue,
        };
        if device.is_some() {
            let value = words.next().and_then(number);
            *sum = sum.and_then(|sum| sum.checked_add(value?));
        }
    }
    sums
}

/// Version 1, `blkio.throttle.io_service_bytes_recursive`.
pub(crate) fn blkio_bytes(text: &[u8], usage: &mut Usage) {
    [usage.read_bytes, usage.written_bytes] = blkio(text);
}

/// Version 1, `blkio.throttle.io_serviced_recursive`.
pub(crate) fn blkio_operations(text: &[u8], usage: &mut Usage) {
    [usage.reads, usage.writes] = blkio(text);
}

/// Version 2, `io.stat`: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0".
pub(crate) fn io_stat(text: &[u8], usage: &mut Usage) {
    let mut sums = [Some(0_u64); 4];
    for line in lines(text) {
        for word in words(line).skip(1) {
            let mut parts = word.splitn(2, |byte| *byte == b'=');
            let [read, written, reads, writes] = &mut sums;
            let sum = match parts.next() {
                Some(b"rbytes") => read,
                Some(b"wbytes") => written,
                Some(b"rios") => reads,
                Some(b"wios") => writes,
                _ => continue,
            };
            let value = parts.next().and_then(number);
            *sum = sum.and_then(|sum| sum.checked_add(value?));
        }
    }
    [
        usage.read_bytes,
        usage.written_bytes,
        usage.reads,
        usage.writes,
    ] = sums;
}

/// Devices of one container that are told, at most.
const DEVICES: usize = 64;

/// The figures of one device, "8:0", which is added where it is new.
fn device<'a>(found: &'a mut Vec<DeviceIo>, number: &[u8]) -> Option<&'a mut DeviceIo> {
    let (major, minor) = std::str::from_utf8(number).ok()?.split_once(':')?;
    let number = (major.parse().ok()?, minor.parse().ok()?);
    let at = match found.iter().position(|one| one.number == number) {
        Some(at) => at,
        None if found.len() < DEVICES => {
            found.push(DeviceIo::of(number));
            found.len() - 1
        }
        None => return None,
    };
    found.get_mut(at)
}

/// Version 1, a file of `blkio`: reads and writes of each device, at the place that `figure` says.
fn blkio_devices(
    text: &[u8],
    found: &mut Vec<DeviceIo>,
    figures: fn(&mut DeviceIo) -> [&mut Option<u64>; 2],
) {
    for line in lines(text) {
        let mut words = words(line);
        let (Some(number_of), Some(operation)) = (words.next(), words.next()) else {
            continue;
        };
        let value = words.next().and_then(number);
        let Some(device) = device(found, number_of) else {
            continue;
        };
        let [read, written] = figures(device);
        match operation {
            b"Read" => *read = value,
            b"Write" => *written = value,
            _ => {}
        }
    }
}

/// Version 1, `blkio.throttle.io_service_bytes_recursive`, by device.
pub(crate) fn blkio_bytes_devices(text: &[u8], found: &mut Vec<DeviceIo>) {
    blkio_devices(text, found, |one| {
        [&mut one.read_bytes, &mut one.written_bytes]
    });
}

/// Version 1, `blkio.throttle.io_serviced_recursive`, by device.
pub(crate) fn blkio_operations_devices(text: &[u8], found: &mut Vec<DeviceIo>) {
    blkio_devices(text, found, |one| [&mut one.reads, &mut one.writes]);
}

/// Version 2, `io.stat`, by device.
pub(crate) fn io_stat_devices(text: &[u8], found: &mut Vec<DeviceIo>) {
    for line in lines(text) {
        let mut words = words(line);
        let Some(device) = words.next().and_then(|number| device(found, number)) else {
            continue;
        };
        for word in words {
            let mut parts = word.splitn(2, |byte| *byte == b'=');
            let figure = match parts.next() {
                Some(b"rbytes") => &mut device.read_bytes,
                Some(b"wbytes") => &mut device.written_bytes,
                Some(b"rios") => &mut device.reads,
                Some(b"wios") => &mut device.writes,
                _ => continue,
            };
            *figure = parts.next().and_then(number);
        }
    }
}

#[cfg(test)]
#[path = "parse_test.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
