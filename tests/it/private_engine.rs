//! An engine of a test's own, which may be stopped, hung and killed. The control plane's tests
//! take this file, too.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// What `scripts/engine.sh image` makes.
pub const IMAGE: &str = "turbopanel/test:busybox";

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

/// An engine of the test's own.
pub struct PrivateEngine {
    child: Option<Child>,
    flags: &'static [&'static str],
    directory: tempfile::TempDir,
}

impl PrivateEngine {
    /// Starts one and waits until it answers, with the test image in it.
    pub fn start() -> Self {
        Self::start_as(tempfile::tempdir().unwrap(), &[])
    }

    /// The same in this directory, which may have a place for its `data` already, and with flags of its own.
    pub fn start_as(directory: tempfile::TempDir, flags: &'static [&'static str]) -> Self {
        let mut engine = Self {
            child: None,
            flags,
            directory,
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
            .args(self.flags)
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

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Kills it at once; its containers may live on.
    pub fn kill(&mut self) {
        self.signal("KILL");
        let _ = self.child.take().unwrap().wait();
    }

    /// Ends it in good order.
    pub fn down(&mut self) {
        self.signal("TERM");
        let _ = self.child.take().unwrap().wait();
    }

    /// Stops it so that it takes connections and says nothing.
    pub fn hang(&self) {
        self.signal("STOP");
    }

    pub fn go_on(&self) {
        self.signal("CONT");
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
