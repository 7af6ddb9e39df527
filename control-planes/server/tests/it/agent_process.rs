//! The agent's own program, `turbopanel-agent`, in a process that dials a control plane.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::cli_server::{Server, eventually, signal, wait};

/// Where cargo puts the agent's program: beside the control plane's.
pub fn agent_program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_turbopanel")).with_file_name("turbopanel-agent");
    assert!(
        program.exists(),
        "there is no {}: run the tests of the whole workspace, or first `cargo build --workspace --bins`",
        program.display()
    );
    program
}

/// Killed when it is dropped; then its log is shown if the test has failed.
pub struct AgentProcess {
    process: Child,
    settings: Vec<(String, String)>,
    dir: TempDir,
}

impl AgentProcess {
    /// An agent with a new token, which dials this URL. `settings` are variables of its environment.
    pub fn join(server: &Server, name: &str, url: &str, settings: &[(&str, &str)]) -> Self {
        let token = server.json(&["token", "create", name])["token"].clone();
        let token = token.as_str().unwrap();
        let dir = TempDir::new().unwrap();
        let state = dir.path().join("state").display().to_string();
        let all = [
            ("AGENT_MODE", "websocket"),
            ("AGENT_PORT", "0"),
            ("AGENT_TOKEN", token),
            ("AGENT_STATE_DIR", &state),
            ("CONTROL_PLANE_URL", url),
            ("LOG_LEVEL", "debug"),
        ];
        let all = all.iter().chain(settings);
        let settings = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = settings.collect::<Vec<_>>();
        let agent = Self {
            process: spawn(&settings, dir.path()),
            settings,
            dir,
        };
        eventually("the agent is connected", || {
            let agents = server.json(&["agents"]);
            let mut agents = agents.as_array().unwrap().iter();
            agents.any(|agent| agent["name"] == name && agent["connected"] == true)
        });
        agent
    }

    /// Of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again with the same settings and state.
    pub fn start_again(&mut self) {
        self.process = spawn(&self.settings, self.dir.path());
    }

    /// Ends it as `docker stop` does; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        signal(&self.process, "TERM");
        wait(&mut self.process, 20)
    }
}

fn spawn(settings: &[(String, String)], dir: &Path) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"));
    Command::new(agent_program())
        .env_clear()
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.unwrap())
        .spawn()
        .unwrap()
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let last = lines.len().saturating_sub(40);
            println!("the agent's log:\n{}", lines[last..].join("\n"));
        }
    }
}
