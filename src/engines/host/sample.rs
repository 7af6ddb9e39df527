//! One sample of the host, from files that are kept open.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::Semaphore;

use super::{
    figures::{Cpu, DiskIo, Load, Memory, Pressure, Space, Traffic},
    kept::Kept,
    mounts::{self, Mount},
    parse,
    processes::Process,
    root::HostRoot,
    sensors::Temperature,
    space::SpaceReader,
    text::lossy,
};

/// Reasons that are told, at most.
pub const MISSING: usize = 32;

/// Why figures are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Where they would come from.
    pub source: String,
    /// Why they did not.
    pub reason: String,
}

/// A file system and its space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Where it is mounted.
    pub mount_point: String,
    /// What is mounted.
    pub device: String,
    /// Its type.
    pub kind: String,
    /// It cannot be written to.
    pub read_only: bool,
    /// Its space.
    pub space: Space,
}

/// The host at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSample {
    /// By the clock of the host.
    pub time: SystemTime,
    /// By a clock that nobody sets.
    pub tick: Duration,
    /// All processors.
    pub cpu: Cpu,
    /// Each processor.
    pub cores: Vec<(u32, Cpu)>,
    /// Load.
    pub load: Load,
    /// Of the processors, memory, and disks.
    pub pressure: [Pressure; 3],
    /// Memory and swap.
    pub memory: Memory,
    /// Space.
    pub file_systems: Vec<FileSystem>,
    /// Disks.
    pub disks: Vec<(String, DiskIo)>,
    /// Network.
    pub interfaces: Vec<(String, Traffic)>,
    /// Temperatures, when they were asked for.
    pub temperatures: Vec<Temperature>,
    /// Processes, when they were asked for.
    pub processes: Vec<Process>,
    /// What could not be read.
    pub missing: Vec<Missing>,
}

impl HostSample {
    /// A sample without figures.
    pub fn empty(time: SystemTime, tick: Duration) -> Self {
        Self {
            time,
            tick,
            cpu: Cpu::default(),
            cores: Vec::new(),
            load: Load::default(),
            pressure: [Pressure::default(); 3],
            memory: Memory::default(),
            file_systems: Vec::new(),
            disks: Vec::new(),
            interfaces: Vec::new(),
            temperatures: Vec::new(),
            processes: Vec::new(),
            missing: Vec::new(),
        }
    }

    fn miss(&mut self, source: String, reason: String) {
        if self.missing.len() < MISSING {
            self.missing.push(Missing { source, reason });
        }
    }
}

/// Reads samples of the host.
#[derive(Debug)]
pub(crate) struct HostReader {
    root: HostRoot,
    stat: Kept,
    load: Kept,
    memory: Kept,
    pressure: [Kept; 3],
    disks: Kept,
    network: Kept,
    mounts: MountTable,
    space: SpaceReader,
    buffer: Vec<u8>,
}

impl HostReader {
    pub(crate) fn new(root: HostRoot) -> Self {
        let whole = |file: &str| Kept::open(root.proc(file)).in_one_piece();
        Self {
            stat: whole("stat"),
            load: whole("loadavg"),
            memory: whole("meminfo"),
            pressure: ["cpu", "memory", "io"]
                .map(|what| Kept::open(root.proc(&format!("pressure/{what}"))).in_one_piece()),
            disks: Kept::open(root.proc("diskstats")),
            network: Kept::open(root.proc_of_host("net/dev")),
            mounts: MountTable::new(&root),
            space: SpaceReader::default(),
            buffer: Vec::new(),
            root,
        }
    }

    /// All but temperatures and processes.
    pub(crate) async fn read(&mut self, time: SystemTime, tick: Duration) -> HostSample {
        let mut sample = HostSample::empty(time, tick);
        let buffer = &mut self.buffer;
        let mut missing = Vec::new();
        let mut told = |file: &Kept, error: &io::Error| {
            missing.push((file.path().display().to_string(), error.to_string()));
        };
        match self.stat.read(buffer) {
            Ok(text) => (sample.cpu, sample.cores) = parse::stat(text),
            Err(error) => told(&self.stat, &error),
        }
        match self.load.read(buffer) {
            Ok(text) => sample.load = parse::loadavg(text),
            Err(error) => told(&self.load, &error),
        }
        match self.memory.read(buffer) {
            Ok(text) => sample.memory = parse::meminfo(text),
            Err(error) => told(&self.memory, &error),
        }
        for (file, pressure) in self.pressure.iter_mut().zip(&mut sample.pressure) {
            match file.read(buffer) {
                Ok(text) => *pressure = parse::pressure(text),
                Err(error) => told(file, &error),
            }
        }
        match self.disks.read(buffer) {
            Ok(text) => sample.disks = parse::diskstats(text),
            Err(error) => told(&self.disks, &error),
        }
        match self.network.read(buffer) {
            Ok(text) => sample.interfaces = parse::interfaces(text),
            Err(error) => told(&self.network, &error),
        }
        if let Err(error) = self.mounts.refresh(buffer) {
            told(&self.mounts.file, &error);
        }
        for (source, reason) in missing {
            sample.miss(source, reason);
        }
        let spaces = self.space.read(&self.root, &self.mounts.known).await;
        for (mount, space) in self.mounts.known.iter().zip(spaces) {
            let space = space.unwrap_or_else(|reason| {
                sample.miss(mount.name.clone(), reason);
                Space::default()
            });
            sample.file_systems.push(FileSystem {
                mount_point: mount.name.clone(),
                device: mount.device.clone(),
                kind: mount.kind.clone(),
                read_only: mount.read_only,
                space,
            });
        }
        sample
    }
}

/// The mounts, read again when the kernel says that they have changed.
#[derive(Debug)]
struct MountTable {
    file: Kept,
    watched: Option<std::fs::File>,
    known: Vec<Mount>,
}

impl MountTable {
    fn new(root: &HostRoot) -> Self {
        Self {
            file: Kept::open(root.proc_of_host("mountinfo")),
            watched: None,
            known: Vec::new(),
        }
    }

    fn refresh(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        if self.watched.as_ref().is_some_and(|file| !changed(file)) {
            return Ok(());
        }
        // Opened first: what changes while the mounts are read is seen the next time.
        self.watched = None;
        let watched = std::fs::File::open(self.file.path())?;
        let text = self.file.read(buffer)?;
        let mut known = mounts::mountinfo(text);
        known.retain(|mount| !mount.name.starts_with("/proc/") && !mount.name.starts_with("/sys/"));
        known.sort_unstable_by(|a, b| a.point.cmp(&b.point));
        self.known = known;
        self.watched = Some(watched);
        Ok(())
    }
}

/// Whether mounts have changed since the file was opened or last asked.
fn changed(file: &std::fs::File) -> bool {
    let mut asked = [PollFd::new(file, PollFlags::PRI)];
    let now = Timespec::default();
    match poll(&mut asked, Some(&now)) {
        Ok(0) => false,
        Ok(_) | Err(_) => true,
    }
}

/// Temperatures, for a sample that is asked for. A chip may hold whoever reads it, and then nobody else is let to it.
pub(crate) async fn temperatures(
    root: &HostRoot,
    gate: &Arc<Semaphore>,
) -> Result<Vec<Temperature>, Missing> {
    let late = || Missing {
        source: lossy(root.sys("class/hwmon").as_os_str().as_encoded_bytes(), 512),
        reason: "the sensors did not answer within 2 s".to_owned(),
    };
    let folder = root.clone();
    let reading = async {
        let permit = Arc::clone(gate).acquire_owned().await.ok()?;
        let reading = tokio::task::spawn_blocking(move || {
            let found = super::sensors::read(&folder);
            drop(permit);
            found
        });
        reading.await.ok()
    };
    let found = tokio::time::timeout(Duration::from_secs(2), reading).await;
    found.ok().flatten().ok_or_else(late)
}

#[cfg(test)]
#[path = "sample_test.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
