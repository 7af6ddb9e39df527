//! Containers for tests.

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use turbopanel_agent::engines::docker::{Engine, EngineAddress, names::ContainerRef};

pub use crate::private_engine::{IMAGE, PrivateEngine, docker};

/// The engine that all tests share.
pub fn engine() -> Engine {
    Engine::new(EngineAddress::default())
}

pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("tpd-{what}-{}-{number}", std::process::id())
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

impl PrivateEngine {
    pub fn address(&self) -> EngineAddress {
        EngineAddress::Unix(self.socket())
    }
}
