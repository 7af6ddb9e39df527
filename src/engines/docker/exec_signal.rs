//! How a signal reaches the processes of an exec.
//!
//! The engine has no call for that. Where the agent sees the engine's processes, it signals the
//! process group by the process that the engine names, after it has checked that this process
//! is really in the container. Elsewhere (another host, a process namespace of the agent's own)
//! the command carries a variable that marks it, and a second exec finds and signals it from inside, which
//! needs a shell in the container. When neither works the caller is told so.

use std::{fmt::Write as _, fs, time::Duration};

use bollard::models::ContainerInspectResponse;
use tokio::time::{Instant, sleep, timeout};

use super::{
    engine::Engine,
    error::Error,
    exec::{self, ExecRequest},
    framing::Decoder,
    names::{ContainerRef, ExecId},
    signal::Signal,
};

/// How long a kill is tried while the engine does not answer.
const KILLING: Duration = Duration::from_secs(600);
/// Marks the processes of one exec, where nothing else would.
const MARK: &str = "TURBOPANEL_EXEC";

/// Signals the groups that a marked command leads: its parent is outside of the container.
const SCRIPT: &str = r#"found=1
for d in /proc/[0-9]*; do
  tr '\0' '\n' <"$d/environ" 2>/dev/null | grep -qxF "$1" || continue
  stat=$(cat "$d/stat" 2>/dev/null) || continue
  set -- "$1" "$2" ${stat##*) }
  [ "$4" = 0 ] && [ "$5" = "${d#/proc/}" ] && kill -"$2" "-$5" && found=0
done
exit $found"#;

/// The way to the processes of an exec.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    container: ContainerRef,
    id: String,
    shares_pids: bool,
    user: Option<String>,
    pid: u32,
    marker: Option<String>,
}

impl Reach {
    /// Finds the way before the command starts.
    pub(super) fn find(container: &ContainerInspectResponse, request: &ExecRequest) -> Self {
        let id = container.id.clone().unwrap_or_default();
        let shares_pids = container
            .host_config
            .as_ref()
            .and_then(|host| host.pid_mode.as_deref())
            == Some("host");
        let first = container
            .state
            .as_ref()
            .and_then(|state| u32::try_from(state.pid?).ok())
            .unwrap_or_default();
        let visible = runs_in(first, &id, shares_pids);
        Self {
            container: request.container.clone(),
            shares_pids,
            user: request.user.clone(),
            pid: 0,
            marker: if visible { None } else { mark() },
            id,
        }
    }

    /// The variable that marks the command, `NAME=value`.
    pub(super) fn marker(&self) -> Option<&str> {
        self.marker.as_deref()
    }

    /// The engine has named the process.
    pub(super) fn found(&mut self, pid: u32) {
        self.pid = pid;
    }

    /// Kills an exec, whatever of it is known. While the engine is away it is tried again and again.
    pub(super) async fn kill(mut self, engine: &Engine, id: &ExecId) -> Result<(), Error> {
        let give_up = Instant::now() + KILLING;
        let (mut unstarted, mut pause) = (0, Duration::from_millis(100));
        loop {
            let error = match engine.inspect_exec(id).await {
                Ok(seen) if exec::exit_code(&seen).is_some() => return Ok(()),
                Ok(seen) => match exec::pid(&seen) {
                    Some(pid) => {
                        self.pid = pid;
                        match self.signal(engine, Signal::KILL).await {
                            Err(error) if !engine.transport().known.sender().borrow().reachable => {
                                error
                            }
                            outcome => return outcome,
                        }
                    }
                    None if unstarted < 20 => {
                        unstarted += 1;
                        sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                    // It never got as far as a process.
                    None => return Ok(()),
                },
                // An engine that was started again knows no exec of before; a mark in the container stays.
                Err(Error::Failed { status: 404, .. }) => {
                    let _ = self.signal(engine, Signal::KILL).await;
                    return Ok(());
                }
                Err(error) => error,
            };
            if Instant::now() >= give_up {
                return Err(error);
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// Whether the process is seen from here.
    pub(super) fn sees(&self) -> bool {
        runs_in(self.pid, &self.id, self.shares_pids)
    }

    /// Sends a signal to the process group, if its process is seen from here. Waits for nothing.
    pub(super) fn signal_here(&self, signal: Signal) -> bool {
        self.sees() && signal_group(self.pid, signal)
    }

    /// Sends a signal to the process group.
    pub(super) async fn signal(&self, engine: &Engine, signal: Signal) -> Result<(), Error> {
        if self.signal_here(signal) {
            return Ok(());
        }
        let cause = match self.signal_inside(engine, signal).await {
            Ok(()) => return Ok(()),
            Err(cause) => cause,
        };
        Err(Error::SignalUndelivered {
            container: self.container.to_string(),
            pid: self.pid,
            cause,
        })
    }

    async fn signal_inside(&self, engine: &Engine, signal: Signal) -> Result<(), String> {
        let Some(marker) = &self.marker else {
            return Err("it ended, or may not be signalled by the agent's user".to_owned());
        };
        let argv = [
            "/bin/sh",
            "-c",
            SCRIPT,
            "sh",
            marker,
            &signal.number().to_string(),
        ];
        let request = ExecRequest {
            container: self.container.clone(),
            argv: argv.map(str::to_owned).to_vec(),
            environment: Vec::new(),
            working_dir: Some("/".to_owned()),
            user: self.user.clone(),
            tty: false,
        };
        let run = async {
            let id = engine.create_exec(&request, None).await?;
            let mut stream = engine.start_exec(&request, &id).await?;
            let mut decoder = Decoder::new(false);
            while let Some(mut content) = stream.next().await? {
                // What it prints is of no interest, but has to be taken.
                while let Ok(Some(_)) = decoder.next(&mut content) {}
            }
            engine.exec_ended(&id).await
        };
        match timeout(Duration::from_secs(10), run).await {
            Ok(Ok(0)) => Ok(()),
            Ok(Ok(1)) => Err("no process in the container bears its mark any more".to_owned()),
            Ok(Ok(_)) => Err("the container has no shell to signal it from inside".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("a signal from inside took too long".to_owned()),
        }
    }
}

/// A fresh marker; none when the system has no randomness, and so no way inside.
fn mark() -> Option<String> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).ok()?;
    let mut marker = format!("{MARK}=");
    for byte in random {
        let _ = write!(marker, "{byte:02x}");
    }
    Some(marker)
}

/// Whether the process that this process id means here runs in that container.
///
/// The same number means another process in another namespace, so the number alone proves
/// nothing. The control group names the container; and where the agent is itself inside of that
/// container, the process has only one process id, unless the container shares the host's.
fn runs_in(pid: u32, container: &str, shares_pids: bool) -> bool {
    if pid == 0 || container.len() < 64 {
        return false;
    }
    let in_group = fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .is_ok_and(|groups| groups.contains(container));
    in_group && (shares_pids || nested(pid))
}

/// Whether the process is in a process namespace below the agent's.
fn nested(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()
        .and_then(|status| {
            let ids = status
                .lines()
                .find_map(|line| line.strip_prefix("NSpid:"))?
                .split_whitespace()
                .count();
            Some(ids > 1)
        })
        .unwrap_or(false)
}

/// The engine makes every exec the leader of a session, so its process id names its group.
fn signal_group(pid: u32, signal: Signal) -> bool {
    let group = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let signal = rustix::process::Signal::from_named_raw(i32::from(signal.number()));
    match (group, signal) {
        (Some(group), Some(signal)) => rustix::process::kill_process_group(group, signal).is_ok(),
        _ => false,
    }
}
