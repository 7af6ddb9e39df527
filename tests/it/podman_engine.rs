//! Podman's service as the engine of a test's own: its Docker-compatible socket, without systemd.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::private_engine::{IMAGE, docker};

/// Ended, with its containers, when it is dropped.
pub struct Podman {
    service: Child,
    directory: tempfile::TempDir,
}

impl Podman {
    /// Starts one and waits until it answers, with the test image in it.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        // Its own default is more than a container may raise its limits to.
        let settings =
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
        fs::write(at("containers.conf"), settings).unwrap();
        let service = podman(&directory)
            .args(["system", "service", "--time", "0"])
            .arg(format!("unix://{}", at("p.sock").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(at("log")).unwrap())
            .process_group(0)
            .spawn()
            .expect("scripts/podman.sh installs it");
        let podman = Self { service, directory };
        let deadline = Instant::now() + Duration::from_secs(40);
        while std::os::unix::net::UnixStream::connect(podman.socket()).is_err() {
            let log = || fs::read_to_string(podman.directory.path().join("log")).unwrap();
            assert!(Instant::now() < deadline, "no podman: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        let image = podman.directory.path().join("image.tar");
        docker(None, &["save", "-o", image.to_str().unwrap(), IMAGE]);
        podman.docker(&["load", "-q", "-i", image.to_str().unwrap()]);
        podman
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("p.sock")
    }

    /// What DOCKER_HOST says.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn docker(&self, args: &[&str]) -> String {
        docker(Some(&self.socket()), args)
    }
}

fn podman(directory: &tempfile::TempDir) -> Command {
    let at = |name: &str| directory.path().join(name);
    let mut command = Command::new("podman");
    command
        .arg("--root")
        .arg(at("root"))
        .arg("--runroot")
        .arg(at("run"))
        .arg("--tmpdir")
        .arg(at("tmp"))
        .args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"])
        .env("CONTAINERS_CONF", at("containers.conf"));
    command
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = podman(&self.directory)
            .args(["rm", "--all", "--force", "--time", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}
