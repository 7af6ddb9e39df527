//! The host: its name, load, memory and disk, as the kernel tells them.

use std::time::Duration;

use procfs::Current;

/// What the kernel says now. What it does not say is zero or empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// The host's name.
    pub hostname: String,
    /// The kernel's release.
    pub kernel: String,
    /// The machine, as in uname.
    pub architecture: String,
    /// Since the host was started.
    pub uptime: Duration,
    /// Processors online.
    pub cpus: u32,
    /// Over 1, 5 and 15 minutes.
    pub load: (f64, f64, f64),
    /// Memory and swap.
    pub memory: Memory,
    /// Bytes of the file system that holds "/".
    pub disk_total: u64,
    /// Bytes that programs without privileges could still write there.
    pub disk_available: u64,
}

/// The host's name.
pub fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Whether there is anything to run: the agent's own image holds no program but the agent.
pub fn has_programs() -> bool {
    std::path::Path::new("/bin/sh").exists()
}

/// Load averages over 1, 5 and 15 minutes.
pub fn load() -> (f64, f64, f64) {
    procfs::LoadAverage::current().map_or((0.0, 0.0, 0.0), |load| {
        (load.one.into(), load.five.into(), load.fifteen.into())
    })
}

/// Memory and swap, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What the kernel has.
    pub total: u64,
    /// What programs could still get.
    pub available: u64,
    /// Swap.
    pub swap_total: u64,
    /// Swap that is free.
    pub swap_free: u64,
}

/// Memory and swap now.
pub fn memory() -> Memory {
    procfs::Meminfo::current().map_or_else(
        |_| Memory::default(),
        |memory| Memory {
            total: memory.mem_total,
            available: memory.mem_available.unwrap_or(memory.mem_free),
            swap_total: memory.swap_total,
            swap_free: memory.swap_free,
        },
    )
}

/// Processors online: a list such as "0-3,6". Neither the agent's affinity nor its quota counts here.
fn online() -> Option<u32> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    let ranges = list.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        Some(last.checked_sub(first)?.saturating_add(1))
    });
    ranges.sum()
}

/// Reads all of it. Takes less than a millisecond: the files are the kernel's own.
pub fn read() -> Host {
    let uname = rustix::system::uname();
    let mut host = Host {
        hostname: uname.nodename().to_string_lossy().into_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        cpus: online().unwrap_or_default(),
        load: load(),
        memory: memory(),
        ..Host::default()
    };
    if let Ok(uptime) = procfs::Uptime::current() {
        host.uptime = uptime.uptime_duration();
    }
    if let Ok(disk) = rustix::fs::statvfs("/") {
        host.disk_total = disk.f_blocks.saturating_mul(disk.f_frsize);
        host.disk_available = disk.f_bavail.saturating_mul(disk.f_frsize);
    }
    host
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_tells_what_it_has() {
        let host = super::read();
        assert!(host.memory.total > host.memory.available && host.memory.available > 0);
        // The kernel's other way of saying it.
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let cpus = stat.lines().filter(|line| line.starts_with("cpu")).count() - 1;
        assert_eq!(host.cpus as usize, cpus);
        assert!(host.disk_total > 0 && host.cpus > 0 && !host.kernel.is_empty());
        assert!(host.uptime.as_secs() > 0);
    }
}
