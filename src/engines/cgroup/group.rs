//! One container's cgroup files, kept open.

use std::{io, path::PathBuf};

use super::{
    parse,
    tree::{Place, Tree},
};
use crate::engines::host::{DeviceIo, HostRoot, Missing, Usage, kept::Kept, parse::traffic};

type Parse = fn(&[u8], &mut Usage);
type ParseDevices = fn(&[u8], &mut Vec<DeviceIo>);

/// A file, and how it is read: as sums, and by device where it tells devices.
#[derive(Debug)]
struct Source {
    file: Kept,
    sums: Parse,
    devices: Option<ParseDevices>,
}

/// The files of one container.
#[derive(Debug)]
pub(crate) struct Group {
    files: Vec<Source>,
    /// Not kept open: that would keep the container's network alive after its end.
    network: Option<Kept>,
}

/// What went wrong with a reading.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The container has ended, or was started again: its files are others now.
    Gone,
}

impl Group {
    /// The files of this place. `pid` is a process of the container, if its network is one of its own.
    pub(crate) fn new(
        tree: &Tree,
        place: &Place,
        root: &HostRoot,
        pid: Option<u32>,
        keep: bool,
    ) -> Self {
        let file = |folder: &Option<PathBuf>, name: &str, parse: Parse| {
            let path = folder.as_ref()?.join(name);
            let kept = if keep {
                Kept::open(path)
            } else {
                Kept::closed(path)
            };
            Some(Source {
                file: kept.in_one_piece(),
                sums: parse,
                devices: None,
            })
        };
        let by_device = |source: Option<Source>, parse: ParseDevices| {
            Some(Source {
                devices: Some(parse),
                ..source?
            })
        };
        let [cpuacct, cpu, memory, blkio, pids] = &tree.folders(place);
        let files = match tree {
            Tree::V1(_) => vec![
                file(cpuacct, "cpuacct.usage", parse::cpuacct_usage),
                file(cpuacct, "cpuacct.stat", parse::cpuacct_stat),
                file(cpu, "cpu.stat", parse::cpu_stat_v1),
                file(memory, "memory.usage_in_bytes", parse::memory_usage),
                file(memory, "memory.stat", parse::memory_stat_v1),
                by_device(
                    file(
                        blkio,
                        "blkio.throttle.io_service_bytes_recursive",
                        parse::blkio_bytes,
                    ),
                    parse::blkio_bytes_devices,
                ),
                by_device(
                    file(
                        blkio,
                        "blkio.throttle.io_serviced_recursive",
                        parse::blkio_operations,
                    ),
                    parse::blkio_operations_devices,
                ),
                file(pids, "pids.current", parse::pids),
                file(pids, "pids.max", parse::pids_max),
            ],
            Tree::V2(_) => vec![
                file(cpu, "cpu.stat", parse::cpu_stat_v2),
                file(memory, "memory.current", parse::memory_usage),
                file(memory, "memory.stat", parse::memory_stat_v2),
                file(memory, "memory.max", parse::memory_max),
                file(memory, "memory.swap.current", parse::swap_current),
                by_device(
                    file(blkio, "io.stat", parse::io_stat),
                    parse::io_stat_devices,
                ),
                file(pids, "pids.current", parse::pids),
                file(pids, "pids.max", parse::pids_max),
            ],
        };
        Self {
            files: files.into_iter().flatten().collect(),
            network: pid.map(|pid| Kept::closed(root.proc(&format!("{pid}/net/dev")))),
        }
    }

    /// Reads all of it; by device only into `devices`. A file that is missing or makes no sense leaves its figures
    /// absent.
    pub(crate) fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        mut devices: Option<&mut Vec<DeviceIo>>,
        missing: &mut Vec<Missing>,
    ) -> Result<Usage, Trouble> {
        let mut usage = Usage::default();
        let mut read = 0;
        let mut errors = Vec::new();
        for source in &mut self.files {
            match source.file.read(buffer) {
                Ok(text) => {
                    (source.sums)(text, &mut usage);
                    if let (Some(parse), Some(devices)) = (source.devices, &mut devices) {
                        parse(text, devices);
                    }
                    read += 1;
                }
                Err(error) if is_gone(&error) => return Err(Trouble::Gone),
                Err(error) => errors.push((source.file.path().to_owned(), error)),
            }
        }
        // Kernels without a controller or without swap accounting lack its files; without any the cgroup is gone.
        if read == 0 {
            return Err(Trouble::Gone);
        }
        if let Some(network) = &mut self.network {
            match network.read(buffer) {
                Ok(text) => usage.set_traffic(&traffic(text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Trouble::Gone),
                Err(error) => errors.push((network.path().to_owned(), error)),
            }
        }
        for (path, error) in errors {
            if error.kind() != io::ErrorKind::NotFound
                && missing.len() < crate::engines::host::MISSING
            {
                missing.push(Missing {
                    source: path.display().to_string(),
                    reason: error.to_string(),
                });
            }
        }
        Ok(usage)
    }
}

/// A file that is open tells so that its cgroup was removed.
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

#[cfg(test)]
#[path = "group_test.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
