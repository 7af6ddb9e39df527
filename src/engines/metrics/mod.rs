//! Figures of the host and its containers: now, and of the last hour.
//!
//! ```text
//!  host files ────────────┐
//!                         ├──▶ Metrics ──▶ whoever asks
//!  cgroup files ─┐        │       │
//!  engine ───────┴ roster ┘       └── every 10 s ──▶ History
//! ```

mod codec;
mod history;
mod reader;
mod roster;
mod rows;

use std::{sync::Arc, time::SystemTime};

pub use history::{Bookmark, History, STEP};
pub use reader::{Metrics, Wanted};

use super::host::{DeviceIo, HostSample, Missing, Usage};

/// Where a container's figures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The kernel's files.
    Cgroup,
    /// The engine.
    Engine,
}

/// A container that ran at the time of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRow {
    /// Its id.
    pub id: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Where the figures come from.
    pub source: Source,
    /// What it uses.
    pub usage: Usage,
    /// What it did on each device. Empty where it was not asked for.
    pub devices: Vec<DeviceIo>,
}

/// The containers at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSample {
    /// By the clock of the host.
    pub time: SystemTime,
    /// By a clock that nobody sets.
    pub tick: std::time::Duration,
    /// By name.
    pub rows: Vec<ContainerRow>,
    /// What could not be read.
    pub missing: Vec<Missing>,
}

impl ContainerSample {
    /// The figures of one container.
    pub fn usage(&self, id: &str) -> Option<&Usage> {
        let row = self.rows.iter().find(|row| *row.id == *id)?;
        Some(&row.usage)
    }
}

/// What was kept of one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The host.
    pub host: HostSample,
    /// Its containers. None: they were not read then.
    pub containers: Option<ContainerSample>,
}
