//! The real agent as a child process, and clients for its own port.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

pub const TOKEN: &str = "canary-7c1f0e";

/// A command line of the agent without any of this process's own settings.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turbopanel-agent"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// The same in a process namespace of its own, as in a container: it sees no process of a container.
pub fn hidden_command() -> Command {
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
    command.arg(env!("CARGO_BIN_EXE_turbopanel-agent"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// A running agent. Killed when it is dropped.
pub struct Agent {
    pub child: Child,
    pub port: u16,
    pub log: Arc<Mutex<String>>,
}

impl Agent {
    /// Starts it with these settings, on a free port, and waits until it serves.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_by(command(), settings)
    }

    /// Starts it by this command, which is the agent or ends in it.
    pub fn start_by(mut command: Command, settings: &[(&str, &str)]) -> Self {
        let mut child = command
            .env("AGENT_PORT", "0")
            .env("AGENT_MODE", "websocket")
            .env("CONTROL_PLANE_URL", "http://127.0.0.1:1")
            .env("LOG_LEVEL", "debug")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, seen) = (
            BufReader::new(child.stderr.take().unwrap()),
            Arc::clone(&log),
        );
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut seen = seen.lock().unwrap();
                seen.push_str(&line);
                seen.push('\n');
            }
        });
        let mut agent = Self {
            child,
            port: 0,
            log,
        };
        agent.logged("serving address=");
        let log = agent.log();
        let address = log.split("serving address=").nth(1).unwrap();
        let address = address.split_whitespace().next().unwrap();
        agent.port = address.rsplit(':').next().unwrap().parse().unwrap();
        agent
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log has this text.
    pub fn logged(&self, text: &str) {
        eventually(&format!("the log has {text:?}"), || {
            self.log().contains(text)
        });
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn ended(&mut self) -> ExitStatus {
        let mut ended = None;
        eventually("the agent has ended", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// A connection to its own port, with this token.
    pub fn connect(&self, token: Option<&str>) -> impl Future<Output = Connected> + Send + use<> {
        self.connect_by(token, |endpoint| endpoint)
    }

    /// As [`Agent::connect`], with settings of the connection.
    pub fn connect_by(
        &self,
        token: Option<&str>,
        settings: fn(Endpoint) -> Endpoint,
    ) -> impl Future<Output = Connected> + Send + use<> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port)).unwrap();
        let endpoint = settings(endpoint);
        let token = token.map(|token| format!("Bearer {token}").parse().unwrap());
        async move {
            let channel = endpoint.connect().await.unwrap();
            InterceptedService::new(channel, Token(token))
        }
    }
}

pub type Connected = InterceptedService<Channel, Token>;

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone)]
pub struct Token(Option<AsciiMetadataValue>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Asks until it is so, for 15 s at most.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 15 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
