//! What the kernel says of a process, and commands that are run around a measurement.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail};

/// The folder that Cargo builds into.
pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    )
}

/// The agent as it is shipped: static and stripped.
pub(crate) fn agent_binary() -> anyhow::Result<PathBuf> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let path = target_folder().join(target).join("agent/turbopanel-agent");
    path.canonicalize()
        .with_context(|| format!("{} is missing; `make bench` builds it", path.display()))
}

/// The time that all threads of a process have run, to the nanosecond. Threads that ended are not in it.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        total += on_cpu(&task?.path().join("schedstat"))?;
    }
    Ok(Duration::from_nanos(total))
}

/// The time that the calling thread has run.
pub(crate) fn own_cpu_time() -> anyhow::Result<Duration> {
    on_cpu(Path::new("/proc/thread-self/schedstat")).map(Duration::from_nanos)
}

fn on_cpu(schedstat: &Path) -> anyhow::Result<u64> {
    let text = fs::read_to_string(schedstat)
        .with_context(|| format!("the kernel offers no {}", schedstat.display()))?;
    let first = text
        .split_whitespace()
        .next()
        .context("an empty schedstat")?;
    Ok(first.parse()?)
}

/// A line of /proc/PID/status as a number, for example `VmRSS` in KiB or `Threads`.
pub(crate) fn status(pid: u32, field: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("no {field} in the status of process {pid}"))
}

/// Runs docker and returns what it printed.
pub(crate) fn docker(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("docker")
        .args(arguments)
        .output()
        .context("docker cannot be run")?;
    if !output.status.success() {
        bail!(
            "docker {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A container that is removed when this is dropped.
pub(crate) struct Container(pub(crate) String);

impl Container {
    /// Starts the test image with this shell script.
    pub(crate) fn start(script: &str) -> anyhow::Result<Self> {
        Self::start_with(&[], script)
    }

    /// With further options of `docker run`.
    pub(crate) fn start_with(options: &[&str], script: &str) -> anyhow::Result<Self> {
        let run = ["run", "--detach", "--network", "none"];
        let command = ["turbopanel/test:busybox", "sh", "-c", script];
        docker(&[&run, options, &command].concat()).map(Self)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(error) = docker(&["rm", "--force", &self.0]) {
            eprintln!("{error:#}");
        }
    }
}
