//! Containers for tests, and a private engine that may be stopped and hung.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use turbopanel_agent::engines::docker::{Engine, EngineAddress, names::ContainerRef};

pub const IMAGE: &str = "turbopanel/test:busybox";

/// The engine that all tests share.
pub fn engine() -> Engine {
    Engine::new(EngineAddress::default())
}

pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("tpd-{what}-{}-{number}", std::process::id())
}

pub fn docker(socket: Option<&Path>, args: &[&str]) -> String {
    let mut command = Command::new("docker");
    if let Some(socket) = socket {
        command
            .arg("-H")
            .arg(format!("unix://{}", socket.display()));
    }
    let output = command.args(args).output().unwrap();
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A container that is removed at the end.
pub struct TestContainer {
    pub name: String,
}

impl TestContainer {
    /// `docker run -d OPTIONS IMAGE ARGV`.
    pub fn run(options: &[&str], argv: &[&str]) -> Self {
        Self::made("run", &["-d"], options, argv)
    }

    pub fn create(options: &[&str], argv: &[&str]) -> Self {
        Self::made("create", &[], options, argv)
    }

    fn made(verb: &str, first: &[&str], options: &[&str], argv: &[&str]) -> Self {
        let container = Self { name: unique("c") };
        let name = container.name.as_str();
        let args = [
            &[verb, "--name", name, "--net=none"],
            first,
            options,
            &[IMAGE],
            argv,
        ]
        .concat();
        docker(None, &args);
        container
    }

    pub fn named(&self) -> ContainerRef {
        self.name.parse().unwrap()
    }
}

impl Drop for TestContainer {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .args(["rm", "-f", "-v", &self.name])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Runs the test with this path again in a process of its own, by this command line, and there it goes on
/// (`true`). What it looks at there is its own alone.
pub fn alone(test: &str, command: &[&str]) -> bool {
    const ALONE: &str = "TURBOPANEL_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let (program, arguments) = command.split_first().unwrap_or((&"env", &[]));
    let output = Command::new(program)
        .args(arguments)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// Polls until the condition holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An engine of the test's own.
pub struct PrivateEngine {
    child: Option<Child>,
    directory: tempfile::TempDir,
}

impl PrivateEngine {
    /// Starts one and waits until it answers, with the test image in it.
    pub fn start() -> Self {
        let mut engine = Self {
            child: None,
            directory: tempfile::tempdir().unwrap(),
        };
        engine.up();
        let tar = engine.directory.path().join("image.tar");
        docker(None, &["save", "-o", tar.to_str().unwrap(), IMAGE]);
        engine.docker(&["load", "-q", "-i", tar.to_str().unwrap()]);
        engine
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("d.sock")
    }

    pub fn address(&self) -> EngineAddress {
        EngineAddress::Unix(self.socket())
    }

    pub fn docker(&self, args: &[&str]) -> String {
        docker(Some(&self.socket()), args)
    }

    pub fn up(&mut self) {
        let at = |name: &str| self.directory.path().join(name);
        // Where nobody reaps orphans, a killed engine's containerd would still count as running.
        let _ = std::fs::remove_file(at("exec/containerd/containerd.pid"));
        let log = std::fs::File::create(at("log")).unwrap();
        // In a network namespace of its own: an engine without a bridge deletes docker0 where it is.
        let child = Command::new("unshare")
            .args(["--net", "--", "dockerd"])
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("-p")
            .arg(at("pid"))
            .arg("-H")
            .arg(format!("unix://{}", self.socket().display()))
            .args([
                "--bridge=none",
                "--iptables=false",
                "--ip-forward=false",
                "--ip-masq=false",
            ])
            .args(["--storage-driver=vfs", "--shutdown-timeout=2"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let answered = Command::new("docker")
                .arg("-H")
                .arg(format!("unix://{}", self.socket().display()))
                .args(["version", "--format", "{{.Server.Version}}"])
                .output()
                .unwrap();
            if answered.status.success() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "no private engine: {}",
                std::fs::read_to_string(at("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().unwrap();
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Kills it at once; its containers may live on.
    pub fn kill(&mut self) {
        self.signal(rustix::process::Signal::KILL);
        let _ = self.child.take().unwrap().wait();
    }

    /// Ends it in good order.
    pub fn down(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        let _ = self.child.take().unwrap().wait();
    }

    /// Stops it so that it takes connections and says nothing.
    pub fn hang(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    pub fn go_on(&self) {
        self.signal(rustix::process::Signal::CONT);
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        if self.child.is_none() {
            self.up();
        }
        self.go_on();
        let socket = format!("unix://{}", self.socket().display());
        let ids = Command::new("docker")
            .args(["-H", &socket, "ps", "-aq"])
            .output();
        if let Ok(ids) = ids {
            let ids = String::from_utf8_lossy(&ids.stdout).into_owned();
            let _ = Command::new("docker")
                .args(["-H", &socket, "rm", "-f"])
                .args(ids.split_whitespace())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
        self.down();
    }
}
