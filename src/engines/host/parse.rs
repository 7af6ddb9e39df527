//! The kernel's files about the host, parsed. Nothing here opens a file: fixtures and the kernel are read alike.

use super::{
    figures::{Cpu, DiskIo, Load, Memory, Pressure, Traffic},
    text::{hundredths, lines, lossy, number, pairs, words},
};

/// The kernel's ticks a second, the same on every architecture that the agent is built for.
const TICK_NS: u64 = 1_000_000_000 / 100;
/// A sector of /proc/diskstats, whatever the disk's own are.
const SECTOR: u64 = 512;
/// Processors, disks and interfaces that are told, at most.
pub(crate) const MOST: usize = 1024;
/// The longest name of a device or an interface that is told, in bytes.
const NAME: usize = 64;

/// /proc/stat: all processors together, and each with its number.
pub(crate) fn stat(text: &[u8]) -> (Cpu, Vec<(u32, Cpu)>) {
    let (mut all, mut cores) = (Cpu::default(), Vec::new());
    for line in lines(text) {
        let mut words = words(line);
        let Some(which) = words.next().and_then(|word| word.strip_prefix(b"cpu")) else {
            // The processors come first, and the rest can be long.
            break;
        };
        let mut ticks = words.map(|word| number(word)?.checked_mul(TICK_NS));
        let values: [Option<u64>; Cpu::COUNT] = std::array::from_fn(|_| ticks.next().flatten());
        let cpu = Cpu::from_values(&values);
        if which.is_empty() {
            all = cpu;
        } else if let Some(core) = number(which).and_then(|core| u32::try_from(core).ok())
            && cores.len() < MOST
        {
            cores.push((core, cpu));
        }
    }
    (all, cores)
}

/// /proc/loadavg: "0.20 0.18 0.12 1/80 11206".
pub(crate) fn loadavg(text: &[u8]) -> Load {
    let mut words = words(text);
    let mut average = || hundredths(words.next()?);
    let (one, five, fifteen) = (average(), average(), average());
    let mut tasks = words.next().unwrap_or_default().split(|byte| *byte == b'/');
    let mut count = || number(tasks.next()?);
    Load {
        one,
        five,
        fifteen,
        running: count(),
        tasks: count(),
    }
}

/// A file of /proc/pressure.
pub(crate) fn pressure(text: &[u8]) -> Pressure {
    let mut found = Pressure::default();
    for line in lines(text) {
        let mut words = words(line);
        let which = words.next().unwrap_or_default();
        let mut values = [None; 4];
        for word in words {
            let mut parts = word.splitn(2, |byte| *byte == b'=');
            let (key, value) = (parts.next(), parts.next().unwrap_or_default());
            let [ten, sixty, three_hundred, total] = &mut values;
            match key {
                Some(b"avg10") => *ten = hundredths(value),
                Some(b"avg60") => *sixty = hundredths(value),
                Some(b"avg300") => *three_hundred = hundredths(value),
                Some(b"total") => *total = number(value),
                _ => {}
            }
        }
        match which {
            b"some" => {
                [
                    found.some_10,
                    found.some_60,
                    found.some_300,
                    found.some_total,
                ] = values;
            }
            b"full" => {
                [
                    found.full_10,
                    found.full_60,
                    found.full_300,
                    found.full_total,
                ] = values;
            }
            _ => {}
        }
    }
    found
}

/// /proc/meminfo.
pub(crate) fn meminfo(text: &[u8]) -> Memory {
    let mut memory = Memory::default();
    for (key, kib) in pairs(text) {
        let figure = match key {
            b"MemTotal:" => &mut memory.total,
            b"MemFree:" => &mut memory.free,
            b"MemAvailable:" => &mut memory.available,
            b"Buffers:" => &mut memory.buffers,
            b"Cached:" => &mut memory.cached,
            b"Shmem:" => &mut memory.shared,
            b"Slab:" => &mut memory.slab,
            b"SReclaimable:" => &mut memory.slab_reclaimable,
            b"Dirty:" => &mut memory.dirty,
            b"Writeback:" => &mut memory.writeback,
            b"AnonPages:" => &mut memory.anonymous,
            b"SwapTotal:" => &mut memory.swap_total,
            b"SwapFree:" => &mut memory.swap_free,
            _ => continue,
        };
        *figure = kib.and_then(|kib| kib.checked_mul(1024));
    }
    memory
}

/// /proc/diskstats: whole disks that hold something.
pub(crate) fn diskstats(text: &[u8]) -> Vec<(String, DiskIo)> {
    let disks = lines(text).filter_map(|line| {
        let mut words = words(line).skip(2);
        let name = words.next().filter(|name| is_disk(name))?;
        let mut values = words.map(number);
        let [
            reads,
            _,
            read,
            read_ms,
            writes,
            _,
            written,
            write_ms,
            in_flight,
            busy_ms,
        ] = std::array::from_fn(|_| values.next().flatten());
        let bytes = |sectors: Option<u64>| sectors?.checked_mul(SECTOR);
        let io = DiskIo {
            reads,
            read_bytes: bytes(read),
            read_ms,
            writes,
            written_bytes: bytes(written),
            write_ms,
            in_flight,
            busy_ms,
        };
        Some((lossy(name, NAME), io))
    });
    disks.take(MOST).collect()
}

/// Neither a partition nor a loop device nor a disk in memory.
fn is_disk(name: &[u8]) -> bool {
    let ends_in_digit = name.last().is_some_and(u8::is_ascii_digit);
    let begins = |prefix: &[u8]| name.starts_with(prefix);
    if begins(b"loop") || begins(b"ram") || begins(b"zram") || begins(b"fd") {
        return false;
    }
    // "sda1", "vdb2", "xvdc3" are partitions of "sda", "vdb", "xvdc" ...
    let by_letter = [&b"sd"[..], b"hd", b"vd", b"xvd"].iter().any(|p| begins(p));
    if by_letter && ends_in_digit {
        return false;
    }
    // ... and where a disk's name ends in a digit, the kernel puts a "p" between: "nvme0n1p1", "mmcblk0p2", "md127p1".
    let digits = name.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let before = name.get(..name.len() - digits).unwrap_or_default();
    let disk = before.strip_suffix(b"p").unwrap_or_default();
    !(digits > 0 && disk.last().is_some_and(u8::is_ascii_digit))
}

/// /proc/net/dev: each interface.
pub(crate) fn net_dev(text: &[u8]) -> impl Iterator<Item = (&[u8], Traffic)> {
    lines(text).skip(2).filter_map(|line| {
        // The colon may stand right before the number.
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, rest) = line.split_at_checked(colon)?;
        let mut values = words(rest.get(1..)?).map(number);
        let values: [Option<u64>; 12] = std::array::from_fn(|_| values.next().flatten());
        let [
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            _,
            _,
            _,
            _,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
        ] = values;
        let traffic = Traffic {
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
        };
        Some((name.trim_ascii(), traffic))
    })
}

/// The host's interfaces, without its ends of those of containers.
pub(crate) fn interfaces(text: &[u8]) -> Vec<(String, Traffic)> {
    net_dev(text)
        .filter(|(name, _)| !name.starts_with(b"veth"))
        .map(|(name, traffic)| (lossy(name, NAME), traffic))
        .take(MOST)
        .collect()
}

/// A container's interfaces together, without loopback.
pub(crate) fn traffic(text: &[u8]) -> Traffic {
    let mut sum = [Some(0_u64); Traffic::COUNT];
    for (name, traffic) in net_dev(text) {
        if name == b"lo" {
            continue;
        }
        for (sum, value) in sum.iter_mut().zip(traffic.values()) {
            *sum = sum.and_then(|sum| Some(sum.saturating_add(value?)));
        }
    }
    Traffic::from_values(&sum)
}

#[cfg(test)]
#[path = "parse_test.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
