//! The agent as a process of its own, with settings and a state directory of its own.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::{plane::Plane, process::agent_binary};

pub(crate) const TOKEN: &str = "bench-token-of-an-agent";

/// A running agent, ended when this is dropped.
pub(crate) struct Agent {
    child: Child,
    pub(crate) local: SocketAddr,
    pub(crate) started: Instant,
    _state: TempDir,
}

impl Agent {
    pub(crate) fn start(control_plane: SocketAddr) -> anyhow::Result<Self> {
        let binary = agent_binary()?;
        let state = TempDir::new()?;
        let local = free_address()?;
        let started = Instant::now();
        let child = Command::new(binary)
            .env_clear()
            .env("AGENT_MODE", "websocket")
            .env("CONTROL_PLANE_URL", format!("http://{control_plane}"))
            .env("AGENT_TOKEN", TOKEN)
            .env("AGENT_NAME", "bench")
            .env("AGENT_PORT", local.port().to_string())
            .env("AGENT_STATE_DIR", state.path())
            .env("LOG_LEVEL", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("the agent cannot be started")?;
        Ok(Self {
            child,
            local,
            started,
            _state: state,
        })
    }

    /// Starts one, and waits until it listens and has joined.
    pub(crate) fn joined(plane: &Plane) -> anyhow::Result<Self> {
        let mut agent = Self::start(plane.address)?;
        agent.await_port()?;
        plane.await_agent()?;
        Ok(agent)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the local port accepts, asking often: what is waited for takes milliseconds.
    pub(crate) fn await_port(&mut self) -> anyhow::Result<()> {
        loop {
            if TcpStream::connect(self.local).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the agent ended at once: {status}");
            }
            if self.started.elapsed() > Duration::from_secs(10) {
                bail!("the agent did not listen on {} within 10 s", self.local);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of this machine that was free a moment ago: the agent takes a port, not a socket.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
