//! The cgroup files of version 2, as this kernel writes them: on a host whose engine uses version 1, a container's process
//! can be in a cgroup of version 2 besides. Controllers that version 1 has are not in it, and their figures are absent.

use std::{fs, path::PathBuf, process::Command};

use turbopanel_agent::proto::container_metrics::Source;

use crate::{
    agent_support::Agent,
    docker_support::{TestContainer, docker},
    metrics_support::{client, containers, engine_says},
};

/// Version 2, mounted in a folder of this test.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Self(folder);
        let told = Command::new("mount")
            .args(["-t", "cgroup2", "none"])
            .arg(root.path())
            .output()
            .unwrap();
        assert!(told.status.success(), "{told:?}");
        root
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernels_own_files_are_read() {
    let container = TestContainer::run(&[], &["sh", "-c", "while :; do :; done"]);
    let inspect = |what: &str| {
        let told = docker(None, &["inspect", "-f", what, &container.name]);
        told.trim().to_owned()
    };
    let (id, pid) = (inspect("{{.Id}}"), inspect("{{.State.Pid}}"));
    let mounted = Mounted::new();
    // Where the engine puts it with version 2.
    let group = mounted.path().join("docker").join(&id);
    fs::create_dir_all(&group).unwrap();
    fs::write(group.join("cgroup.procs"), &pid).unwrap();
    let begun = engine_says(&container.name, &["cpu_stats", "cpu_usage", "total_usage"]);

    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    let script = "mount -t tmpfs none /mnt && mkdir -p /mnt/proc /mnt/sys/fs/cgroup && mount --rbind /proc /mnt/proc && \
        mount -t cgroup2 none /mnt/sys/fs/cgroup && exec \"$0\"";
    command.args(["sh", "-c", script, env!("CARGO_BIN_EXE_turbopanel-agent")]);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let agent = Agent::start_by(command, &[("AGENT_HOST_ROOT", "/mnt")]);
    let mut client = client(&agent).await;
    let first = containers(&mut client, &[&container.name]).await.unwrap();
    let again = containers(&mut client, &[&container.name]).await.unwrap();
    let all = engine_says(&container.name, &["cpu_stats", "cpu_usage", "total_usage"]);
    let (first, again) = (&first[0], &again[0]);
    assert_eq!(again.source(), Source::Cgroup);
    let (before, after) = (first.cpu_seconds.unwrap(), again.cpu_seconds.unwrap());
    // Version 2 counts from when the process came into its cgroup.
    let most = (all - begun) as f64 / 1e9 + 1.0;
    assert!(
        before > 0.0 && after >= before && after <= most,
        "{before} {after} {most}"
    );
    assert!(first.cpu_percent > Some(0.0), "{first:?}");
    assert!(again.cpu_user_seconds > Some(0.0) && again.cpu_system_seconds.is_some());
    assert_eq!((again.memory_usage_bytes, again.pids), (None, None));
    drop(agent);
    drop(container);
    // With its process, nothing holds it; the engine's runtime may have been first.
    if let Err(error) = fs::remove_dir(&group) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    }
}
