//! A file system that does not answer, as a network mount whose server is gone: here one in user space whose
//! program never says anything.

use std::{fs, process::Command, time::Duration};

use turbopanel_agent::proto::GetHostMetricsRequest;

use crate::{agent_support::Agent, metrics_support::client};

/// Mounts it in a namespace of its own, where the agent then runs. The open device holds it.
const HUNG: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.makedirs("/mnt/hung", exist_ok=True)
fuse = os.open("/dev/fuse", os.O_RDWR)
os.set_inheritable(fuse, True)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
if libc.mount(b"server:/gone", b"/mnt/hung", b"fuse.sshfs", 0, options) != 0:
    sys.exit(f"no mount: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
"#;

fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_hangs_holds_nobody() {
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    // A file system of memory, so that no folder is left on the machine.
    let script = "mount -t tmpfs none /mnt && exec python3 -c \"$0\" \"$1\"";
    command.args([
        "sh",
        "-c",
        script,
        HUNG,
        env!("CARGO_BIN_EXE_turbopanel-agent"),
    ]);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let agent = Agent::start_by(command, &[]);
    let mut client = client(&agent).await;
    for _ in 0..6 {
        let asking = client.get_host_metrics(GetHostMetricsRequest::default());
        let answer = tokio::time::timeout(Duration::from_secs(30), asking)
            .await
            .unwrap();
        let host = answer.unwrap().into_inner().host.unwrap();
        let hung = host
            .file_systems
            .iter()
            .find(|one| one.mount_point == "/mnt/hung")
            .unwrap();
        assert_eq!(
            (hung.device.as_str(), hung.size_bytes),
            ("server:/gone", None)
        );
        let told = host
            .missing
            .iter()
            .find(|one| one.source == "/mnt/hung")
            .unwrap();
        assert!(told.reason.contains("does not answer"), "{told:?}");
        // The others are told; they come before it.
        let root = host
            .file_systems
            .iter()
            .find(|one| one.mount_point == "/")
            .unwrap();
        assert!(root.size_bytes > Some(0), "{host:?}");
    }
    // One thread is held, however often the figures were asked for.
    let threads = threads(agent.child.id());
    assert!(threads <= 4, "{threads} threads");
    assert_eq!(
        agent.log().matches("a file system does not answer").count(),
        1
    );
}
