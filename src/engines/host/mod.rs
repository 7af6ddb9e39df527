//! The host: its name, load, memory and disk, as the kernel tells them; and samples of all its figures.
//!
//! ```text
//!  HostRoot ──▶ kept files ──▶ parse ──▶ HostSample
//!     └───────▶ mounts ──▶ space (a thread that is not waited for) ──┘
//! ```

mod figures;
pub(crate) mod kept;
mod mounts;
pub(crate) mod parse;
pub(crate) mod processes;
mod root;
mod sample;
mod sensors;
mod space;
pub(crate) mod text;

use std::time::Duration;

pub use figures::{Cpu, DeviceIo, DiskIo, Load, Memory, Pressure, Space, Traffic, Usage};
pub use processes::Process;
pub use root::HostRoot;
pub use sample::{FileSystem, HostSample, MISSING, Missing};
pub(crate) use sample::{HostReader, temperatures};
pub use sensors::Temperature;

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

/// Whether there is anything to run: the agent's own image holds no program but the agent.
pub fn has_programs() -> bool {
    std::path::Path::new("/bin/sh").exists()
}

/// The host's name. A container has one of its own.
pub fn hostname(root: &HostRoot) -> String {
    let written = root
        .is_elsewhere()
        .then(|| kept::read_once(root.path("/etc/hostname".as_ref())).ok())
        .flatten()
        .map(|name| text::lossy(name.trim_ascii(), 253))
        .filter(|name| !name.is_empty());
    written.unwrap_or_else(|| {
        let uname = rustix::system::uname();
        uname.nodename().to_string_lossy().into_owned()
    })
}

/// Load averages.
pub fn load(root: &HostRoot) -> Load {
    let text = kept::read_once(root.proc("loadavg")).unwrap_or_default();
    parse::loadavg(&text)
}

/// Memory and swap now.
pub fn memory(root: &HostRoot) -> Memory {
    let text = kept::read_once(root.proc("meminfo")).unwrap_or_default();
    parse::meminfo(&text)
}

impl Memory {
    /// What programs have, without what they could still get.
    pub fn used(&self) -> u64 {
        let left = self.available.or(self.free).unwrap_or(0);
        self.total.unwrap_or(0).saturating_sub(left)
    }
}

/// Processors online: a list such as "0-3,6". Neither the agent's affinity nor its quota counts here.
fn online(root: &HostRoot) -> Option<u32> {
    let list = kept::read_once(root.sys("devices/system/cpu/online")).ok()?;
    let list = String::from_utf8(list).ok()?;
    let mut count = 0_u32;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// Reads all of it. Takes less than a millisecond: the files are the kernel's own.
pub fn read(root: &HostRoot) -> Host {
    let uname = rustix::system::uname();
    let load = load(root);
    let average = |hundredths: Option<u64>| hundredths.unwrap_or(0) as f64 / 100.0;
    let mut host = Host {
        hostname: hostname(root),
        kernel: uname.release().to_string_lossy().into_owned(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        cpus: online(root).unwrap_or_default(),
        load: (average(load.one), average(load.five), average(load.fifteen)),
        memory: memory(root),
        ..Host::default()
    };
    let uptime = kept::read_once(root.proc("uptime")).unwrap_or_default();
    if let Some(hundredths) = text::words(&uptime).next().and_then(text::hundredths) {
        host.uptime = Duration::from_millis(hundredths.saturating_mul(10));
    }
    if let Ok(disk) = rustix::fs::statvfs(root.path("/".as_ref())) {
        host.disk_total = disk.f_blocks.saturating_mul(disk.f_frsize);
        host.disk_available = disk.f_bavail.saturating_mul(disk.f_frsize);
    }
    host
}

#[cfg(test)]
mod tests {
    use super::HostRoot;

    #[test]
    fn the_kernel_tells_what_it_has() {
        let host = super::read(&HostRoot::default());
        let (total, available) = (host.memory.total, host.memory.available);
        assert!(total > available && available > Some(0));
        assert!(host.memory.used() > 0);
        // The kernel's other way of saying it.
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let cpus = stat.lines().filter(|line| line.starts_with("cpu")).count() - 1;
        assert_eq!(host.cpus as usize, cpus);
        assert!(host.disk_total > 0 && host.cpus > 0 && !host.kernel.is_empty());
        assert!(host.uptime.as_secs() > 0);
    }

    #[test]
    fn under_another_root_nothing_of_this_one_is_told() {
        let host = super::read(&HostRoot::under("/nowhere".into()));
        assert_eq!(
            (host.memory.total, host.cpus, host.disk_total),
            (None, 0, 0)
        );
    }
}
