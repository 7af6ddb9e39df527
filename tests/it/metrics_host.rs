//! The host's figures: as the machine says them, and of another root.

use std::{process::Command, time::Duration};

use turbopanel_agent::proto::{
    GetHostMetricsRequest, GetStatusRequest, HostMetrics, agent_service_client::AgentServiceClient,
    metrics_service_client::MetricsServiceClient,
};

use crate::{
    agent_support::{Agent, Connected},
    metrics_support::{FIXTURE, client, reason},
};

async fn host(
    client: &mut MetricsServiceClient<Connected>,
    processes: u32,
    lines: bool,
) -> HostMetrics {
    let request = GetHostMetricsRequest {
        processes,
        include_command_lines: lines,
    };
    let answer = client.get_host_metrics(request).await.unwrap();
    answer.into_inner().host.unwrap()
}

fn meminfo(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{field}:")))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

/// Size, free and used space of the file system that holds "/", as df tells it.
fn df(columns: &str) -> Vec<u64> {
    let output = Command::new("df")
        .args(["-B1", &format!("--output={columns}"), "/"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers = text.lines().nth(1).unwrap().split_whitespace();
    numbers.map(|number| number.parse().unwrap()).collect()
}

/// Whether two figures that change all the time are of the same size.
fn near(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= one.max(other) / 4
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_as_the_machine_says() {
    let agent = Agent::start(&[]);
    let host = host(&mut client(&agent).await, 0, false).await;
    let memory = host.memory.unwrap();
    assert_eq!(memory.total_bytes, Some(meminfo("MemTotal")));
    assert_eq!(memory.swap_total_bytes, Some(meminfo("SwapTotal")));
    assert!(near(
        memory.available_bytes.unwrap(),
        meminfo("MemAvailable")
    ));
    assert!(near(memory.cached_bytes.unwrap(), meminfo("Cached")));

    let root = host
        .file_systems
        .iter()
        .find(|one| one.mount_point == "/")
        .unwrap();
    let told = df("size,avail,itotal");
    assert_eq!(root.size_bytes, Some(told[0]));
    assert_eq!(root.inodes, Some(told[2]));
    assert!(near(root.available_bytes.unwrap(), told[1]));
    let devices: Vec<_> = host.file_systems.iter().map(|one| &one.device).collect();
    let mut once = devices.clone();
    once.sort();
    once.dedup();
    assert_eq!(
        devices.len(),
        once.len(),
        "a device is told twice: {devices:?}"
    );

    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let cores = stat.lines().filter(|line| line.starts_with("cpu")).count() - 1;
    assert_eq!(host.cores.len(), cores);
    assert!(host.measured_over.is_some());
    for cpu in host.cores.iter().chain(&host.cpu) {
        let busy = cpu.busy_ratio.unwrap();
        assert!((0.0..=1.0).contains(&busy), "{cpu:?}");
        assert!(cpu.user_seconds > Some(0.0));
    }
    assert!(host.load.unwrap().tasks > Some(1));
    let loopback = host.interfaces.iter().find(|one| one.name == "lo").unwrap();
    assert!(loopback.received_bytes > Some(0));
    assert!(
        host.disks.iter().any(|disk| disk.read_bytes > Some(0)),
        "{:?}",
        host.disks
    );
    let disk = host
        .disks
        .iter()
        .find(|disk| disk.read_bytes > Some(0))
        .unwrap();
    assert!(disk.read_bytes_per_second >= Some(0.0) && disk.writes_per_second >= Some(0.0));
    assert!(
        loopback.received_bytes_per_second >= Some(0.0),
        "{loopback:?}"
    );
    let pressure = std::fs::exists("/proc/pressure/memory").unwrap();
    assert_eq!(host.memory_pressure.is_some(), pressure);
    assert!(host.processes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_are_told_by_name_and_by_command_line_only_when_asked_for() {
    let canary = "canary-of-a-command-line";
    // Busy, so that it is among the first.
    let script = format!("import sys\nwhile True: pass # {canary}");
    let mut busy = Command::new("python3")
        .args(["-c", &script])
        .spawn()
        .unwrap();
    let agent = Agent::start(&[]);
    let mut client = client(&agent).await;
    let mut found = None;
    for _ in 0..30 {
        let host = host(&mut client, 100, false).await;
        assert!(!format!("{host:?}").contains(canary));
        assert!(host.processes.len() <= 200);
        found = host.processes.into_iter().find(|one| one.pid == busy.id());
        if found.as_ref().is_some_and(|one| one.cpus > Some(0.0)) {
            break;
        }
    }
    let asked = host(&mut client, 100, true).await;
    busy.kill().unwrap();
    busy.wait().unwrap();
    let found = found.unwrap();
    assert!(
        found.name.starts_with("python3") && found.cpus > Some(0.0),
        "{found:?}"
    );
    assert!(
        found.resident_bytes > Some(1_000_000) && found.uid == Some(0),
        "{found:?}"
    );
    let line = asked
        .processes
        .into_iter()
        .find(|one| one.pid == found.pid)
        .unwrap();
    assert_eq!(line.command_line[1..], ["-c", &*script]);
    let request = GetHostMetricsRequest {
        processes: 101,
        include_command_lines: false,
    };
    let refused = client.get_host_metrics(request).await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_FIELD");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_root_is_another_host() {
    let agent = Agent::start(&[("AGENT_HOST_ROOT", FIXTURE)]);
    let host = host(&mut client(&agent).await, 5, false).await;
    assert_eq!(host.memory.unwrap().total_bytes, Some(16_384_000 * 1024));
    assert_eq!(host.cpu.unwrap().user_seconds, Some(10.0));
    assert_eq!(host.load.unwrap().load15, Some(10.05));
    assert_eq!(host.io_pressure.unwrap().full_ratio_10s, Some(0.0059));
    let interfaces: Vec<_> = host
        .interfaces
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(interfaces, ["lo", "eth0"]);
    let told: Vec<_> = host
        .temperatures
        .iter()
        .map(|one| (&*one.chip, &*one.label, one.celsius))
        .collect();
    assert_eq!(
        told,
        [("coretemp", "Package id 0", 45.5), ("coretemp", "", -5.0)]
    );
    assert_eq!(host.temperatures[0].critical_celsius, Some(100.0));
    let sensors: Vec<_> = host
        .temperatures
        .iter()
        .map(|one| (&*one.device, &*one.sensor))
        .collect();
    assert_eq!(sensors, [("coretemp", "temp1"), ("coretemp", "temp2")]);
    assert_eq!(
        (host.processes[0].pid, host.processes[0].name.as_str()),
        (4242, "nginx: worker")
    );
    // Its mounts are none of this machine's: no figure of ours stands for theirs, and it is said.
    assert_eq!(host.file_systems.len(), 4);
    assert!(host.file_systems.iter().all(|one| one.size_bytes.is_none()));
    let missing = |source: &str| host.missing.iter().any(|one| one.source == source);
    assert!(missing("/") && missing("/mnt/backup"), "{:?}", host.missing);

    let mut status = AgentServiceClient::new(agent.connect(None).await);
    let status = status.get_status(GetStatusRequest {}).await.unwrap();
    let status = status.into_inner().status.unwrap();
    assert_eq!(status.name, "fixture-host");
    let host = status.host.unwrap();
    assert_eq!((host.cpus, host.load5), (3, 0.5));
    assert_eq!(host.memory_available_bytes, 9_000_000 * 1024);
    assert_eq!(host.uptime.unwrap().seconds, 350_735);
}

/// From inside a container whose network and mounts are its own, through the host's root.
#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_right_from_another_network_and_mount_namespace() {
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--net", "--mount", "--propagation", "private", "--"]);
    // The host's root is seen below another folder, and this namespace has mounts of its own.
    let script = "mount -t tmpfs none /mnt && mkdir /mnt/host && mount --rbind / /mnt/host && \
        ip link set lo up && exec \"$0\"";
    command.args(["sh", "-c", script, env!("CARGO_BIN_EXE_turbopanel-agent")]);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let agent = Agent::start_by(command, &[("AGENT_HOST_ROOT", "/mnt/host")]);
    // Its port is in its own network: it is asked from in there.
    let pid = agent.child.id().to_string();
    let port = agent.port.to_string();
    let url = format!("http://127.0.0.1:{port}/metrics");
    let output = Command::new("nsenter")
        .args([
            "--net",
            "--target",
            &pid,
            "curl",
            "-s",
            "--max-time",
            "30",
            &url,
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<_> = std::fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| !name.starts_with("veth") && name != "bonding_masters");
    for name in names {
        let sample = format!("node_network_receive_bytes_total{{device=\"{name}\"}}");
        assert!(text.contains(&sample), "{sample}: {text}");
    }
    assert!(
        text.contains("mountpoint=\"/\"") && !text.contains("/mnt/host"),
        "{text}"
    );
    let size = format!("mountpoint=\"/\"}} {}\n", df("size")[0]);
    assert!(text.contains(&size), "{size}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_reading_is_compared_with_the_first() {
    let agent = Agent::start(&[]);
    let mut client = client(&agent).await;
    let first = host(&mut client, 0, false).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = host(&mut client, 0, false).await;
    let over: Duration = second.measured_over.unwrap().try_into().unwrap();
    assert!(over >= Duration::from_millis(500), "{over:?}");
    let at = |host: &HostMetrics| host.time.unwrap();
    assert!((at(&first).seconds, at(&first).nanos) < (at(&second).seconds, at(&second).nanos));
}
