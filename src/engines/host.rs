//! The host: its name, load, memory and disk, as the kernel tells them.

use std::time::Duration;

use procfs::{Current, CurrentSI};

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
    /// Bytes that the kernel has.
    pub memory_total: u64,
    /// Bytes that programs could still get.
    pub memory_available: u64,
    /// Bytes of swap.
    pub swap_total: u64,
    /// Bytes of swap that are free.
    pub swap_free: u64,
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

/// Reads all of it. Takes less than a millisecond: the files are the kernel's own.
pub fn read() -> Host {
    let uname = rustix::system::uname();
    let mut host = Host {
        hostname: uname.nodename().to_string_lossy().into_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        cpus: std::thread::available_parallelism().map_or(0, |cpus| cpus.get() as u32),
        ..Host::default()
    };
    if let Ok(uptime) = procfs::Uptime::current() {
        host.uptime = uptime.uptime_duration();
    }
    if let Ok(load) = procfs::LoadAverage::current() {
        host.load = (load.one.into(), load.five.into(), load.fifteen.into());
    }
    if let Ok(stat) = procfs::KernelStats::current() {
        host.cpus = stat.cpu_time.len() as u32;
    }
    if let Ok(memory) = procfs::Meminfo::current() {
        host.memory_total = memory.mem_total;
        host.memory_available = memory.mem_available.unwrap_or(memory.mem_free);
        host.swap_total = memory.swap_total;
        host.swap_free = memory.swap_free;
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
        assert!(host.memory_total > host.memory_available && host.memory_available > 0);
        assert!(host.disk_total > 0 && host.cpus > 0 && !host.kernel.is_empty());
        assert!(host.uptime.as_secs() > 0);
    }
}
