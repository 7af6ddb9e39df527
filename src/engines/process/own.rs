//! What this process itself uses.

use std::fs;

use crate::engines::host::text::{number, words};

/// The process that runs this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// CPU time in nanoseconds.
    pub cpu: Option<u64>,
    /// Resident memory in bytes.
    pub resident: Option<u64>,
    /// Open files.
    pub open_files: Option<u64>,
}

/// Reads it.
pub fn read() -> Own {
    let statm = fs::read("/proc/self/statm").unwrap_or_default();
    let pages = words(&statm).nth(1).and_then(number);
    let page = rustix::param::page_size() as u64;
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanos = |time: rustix::time::Timespec| {
        let seconds = u64::try_from(time.tv_sec).ok()?;
        let nanos = u64::try_from(time.tv_nsec).ok()?;
        seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
    };
    Own {
        cpu: nanos(cpu),
        resident: pages.and_then(|pages| pages.checked_mul(page)),
        open_files: fs::read_dir("/proc/self/fd")
            .ok()
            // The folder itself is one of them.
            .map(|files| (files.count() as u64).saturating_sub(1)),
    }
}
