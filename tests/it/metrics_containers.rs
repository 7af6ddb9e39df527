//! The figures of containers: as the engine's own, by cgroup files and by the engine.

use tonic::Code;
use turbopanel_agent::proto::{
    BlockDeviceMetrics, GetContainerMetricsRequest, container_metrics::Source,
};

use crate::{
    agent_support::{Agent, eventually as eventually_here},
    docker_support::{IMAGE, PrivateEngine, TestContainer, docker, unique},
    metrics_support::{FIXTURE, client, containers, engine_says, reason},
};

const CPU: &[&str] = &["cpu_stats", "cpu_usage", "total_usage"];

/// A container with this network.
fn networked(network: &str, options: &[&str], argv: &[&str]) -> TestContainer {
    let name = unique("m");
    let net = format!("--net={network}");
    let args = [
        &["run", "-d", "--name", &name, &net],
        options,
        &[IMAGE],
        argv,
    ]
    .concat();
    docker(None, &args);
    TestContainer { name }
}

/// The disk that holds the engine's files.
fn disk() -> String {
    let output = std::process::Command::new("df")
        .args(["--output=source", "/var/lib/docker"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().nth(1).unwrap().trim().to_owned()
}

/// Busy, with a network and something written to disk.
fn busy() -> TestContainer {
    let script = "dd if=/dev/zero of=/x bs=1M count=8 oflag=direct 2>/dev/null; \
        dd if=/dev/zero of=/y bs=1M count=16 2>/dev/null; while :; do :; done";
    // Version 1 counts what goes to disk only where a limit watches it.
    let watched = format!("--device-write-bps={}:4gb", disk());
    let options = ["--memory=512m", "--pids-limit=77", "--cpus=1.5", &watched];
    networked("bridge", &options, &["sh", "-c", script])
}

/// What the engine says before and after lies around what the agent says.
async fn compare(settings: &[(&str, &str)], source: Source) {
    let container = busy();
    let name = container.name.as_str();
    eventually_here("it has written", || {
        docker(None, &["exec", name, "ls", "/"]).contains('y')
    });
    let agent = Agent::start(settings);
    let mut client = client(&agent).await;
    // The first answer compares too: there is no reading before it.
    let first = containers(&mut client, &[name]).await.unwrap().remove(0);
    assert!(
        first.cpu_percent > Some(0.0) && first.measured_over.is_some(),
        "{first:?}"
    );

    let before = engine_says(name, CPU);
    let found = containers(&mut client, &[name]).await.unwrap();
    let after = engine_says(name, CPU);
    assert_eq!(found.len(), 1);
    let found = &found[0];
    assert_eq!((found.name.as_str(), found.source()), (name, source));
    assert_eq!(found.id.len(), 64);
    let cpu = (found.cpu_seconds.unwrap() * 1e9) as u64;
    // A float of seconds is right to a microsecond.
    assert!(
        (before - 1000..=after + 1000).contains(&cpu),
        "{before} {cpu} {after}"
    );
    assert_eq!(
        (found.memory_limit_bytes, found.pids_limit),
        (Some(512 << 20), Some(77))
    );
    assert_eq!(found.pids, Some(1));

    // Memory and network change no more; the engine's own sum of them is theirs too.
    let usage = engine_says(name, &["memory_stats", "usage"]);
    let inactive = engine_says(name, &["memory_stats", "total_inactive_file"]);
    let (own, working) = (
        found.memory_usage_bytes.unwrap(),
        found.memory_working_set_bytes.unwrap(),
    );
    let margin = 4 << 20;
    assert!(own.abs_diff(usage) < margin, "{own} {usage}");
    assert!(
        working.abs_diff(usage - inactive) < margin,
        "{working} {usage} {inactive}"
    );
    assert!(found.memory_cache_bytes > Some(8 << 20), "{found:?}");
    let received = engine_says(name, &["networks", "eth0", "rx_bytes"]);
    assert!(
        found.received_bytes.unwrap().abs_diff(received) < 10_000,
        "{found:?} {received}"
    );
    assert!(found.received_packets.is_some() && found.sent_bytes.is_some());
    assert!(found.cpu_periods > Some(0), "{found:?}");
    if source == Source::Cgroup {
        assert!(found.written_bytes >= Some(8 << 20), "{found:?}");
        assert!(found.writes > Some(0));
    }
    // By device: the engine's own sums are those of its devices.
    let disk = disk().trim_start_matches("/dev/").to_owned();
    // The host of fixtures has no such disk, and so no name for it.
    let is_disk = |name: &str| match source {
        Source::Engine => name.contains(':'),
        _ => name == disk,
    };
    let sum = |of: fn(&BlockDeviceMetrics) -> Option<u64>| {
        found.block_devices.iter().filter_map(of).sum::<u64>()
    };
    assert_eq!(Some(sum(|one| one.written_bytes)), found.written_bytes);
    assert_eq!(Some(sum(|one| one.reads)), found.reads);
    let device = found.block_devices.iter().find(|one| is_disk(&one.device));
    let device = device.unwrap_or_else(|| panic!("no {disk} in {found:?}"));
    assert!(device.written_bytes >= Some(8 << 20), "{device:?}");
    // It writes and receives nothing any more.
    assert_eq!(found.written_bytes_per_second, Some(0.0), "{found:?}");
    assert!(found.received_bytes_per_second >= Some(0.0), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cgroup_files_say_what_the_engine_says() {
    compare(&[], Source::Cgroup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_cgroup_files_the_engine_is_asked() {
    // This root has the cgroups of another host.
    compare(&[("AGENT_HOST_ROOT", FIXTURE)], Source::Engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_stats_shows_the_same() {
    let container = busy();
    let name = container.name.as_str();
    let agent = Agent::start(&[]);
    let mut client = client(&agent).await;
    let mut last = (0.0, 0.0);
    // On a busy machine both take their second at another time: near each other once is enough.
    for _ in 0..10 {
        let told = docker(
            None,
            &["stats", "--no-stream", "--format", "{{.CPUPerc}}", name],
        );
        let shown: f64 = told.trim().trim_end_matches('%').parse().unwrap();
        let own = containers(&mut client, &[name]).await.unwrap()[0]
            .cpu_percent
            .unwrap();
        last = (shown, own);
        if (shown - own).abs() <= shown.max(own) * 0.25 {
            return;
        }
    }
    panic!("docker stats says {} and the agent {}", last.0, last.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusual_parent_and_the_hosts_network() {
    let options = ["--cgroup-parent=/tpd-metrics"];
    let container = networked("host", &options, &["sleep", "600"]);
    let agent = Agent::start(&[]);
    let mut client = client(&agent).await;
    let found = containers(&mut client, &[&container.name])
        .await
        .unwrap()
        .remove(0);
    assert_eq!(found.source(), Source::Cgroup);
    assert!(found.memory_usage_bytes > Some(0) && found.pids == Some(1));
    // The host's traffic is not the container's.
    assert_eq!((found.received_bytes, found.sent_packets), (None, None));
    assert_eq!((found.memory_limit_bytes, found.pids_limit), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_found_by_what_they_are_called() {
    let one = TestContainer::run(&[], &["sleep", "600"]);
    let two = TestContainer::run(&[], &["sleep", "600"]);
    let stopped = TestContainer::create(&[], &["true"]);
    let agent = Agent::start(&[]);
    let mut client = client(&agent).await;
    let all = containers(&mut client, &[]).await.unwrap();
    let id = |name: &str| all.iter().find(|one| one.name == name).unwrap().id.clone();
    let (first, second) = (id(&one.name), id(&two.name));
    assert!(all.iter().all(|row| row.name != stopped.name));
    for asked in [[first.as_str(), &two.name], [&first[..20], &second[..20]]] {
        let found = containers(&mut client, &asked).await.unwrap();
        let mut ids: Vec<_> = found.iter().map(|one| one.id.as_str()).collect();
        ids.sort_unstable();
        let mut expected = [first.as_str(), second.as_str()];
        expected.sort_unstable();
        assert_eq!(ids, expected);
    }
    // Named twice, told once; and by a new name at once.
    let renamed = format!("{}-renamed", one.name);
    docker(None, &["rename", &one.name, &renamed]);
    let found = containers(&mut client, &[&renamed, &first]).await.unwrap();
    assert_eq!((found.len(), found[0].id.as_str()), (1, first.as_str()));
    docker(None, &["rename", &renamed, &one.name]);

    let refused = containers(&mut client, &["tpd-no-such-container"])
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::NotFound, "CONTAINER_NOT_FOUND")
    );
    let refused = containers(&mut client, &[&one.name, &stopped.name])
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::FailedPrecondition, "CONTAINER_NOT_RUNNING")
    );
    for wrong in ["", "../x", "a/b", "a b", "\u{202e}x"] {
        let refused = containers(&mut client, &[wrong]).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_FIELD", "{wrong:?}");
    }
    let many = vec!["x"; 1001];
    let refused = containers(&mut client, &many).await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_FIELD");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_started_again_is_read_anew() {
    let container = networked("bridge", &[], &["sh", "-c", "while :; do :; done"]);
    let agent = Agent::start(&[]);
    let mut client = client(&agent).await;
    let name = container.name.as_str();
    let first = containers(&mut client, &[name]).await.unwrap().remove(0);
    docker(None, &["restart", "-t", "0", name]);
    let again = containers(&mut client, &[name]).await.unwrap().remove(0);
    assert_eq!(again.id, first.id);
    // Its figures begin at zero, and are those of the process that runs now.
    assert!(
        again.cpu_seconds > Some(0.0) && again.received_bytes.is_some(),
        "{again:?}"
    );
    assert!(again.cpu_percent.is_none_or(|percent| percent >= 0.0));
    docker(None, &["pause", name]);
    let paused = containers(&mut client, &[name]).await.unwrap().remove(0);
    assert_eq!(paused.pids, Some(1));
    docker(None, &["unpause", name]);
    docker(None, &["kill", name]);
    let refused = containers(&mut client, &[name]).await.unwrap_err();
    assert_eq!(reason(&refused), "CONTAINER_NOT_RUNNING");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_away_takes_only_its_own_figures_along() {
    let mut engine = tokio::task::spawn_blocking(PrivateEngine::start)
        .await
        .unwrap();
    let socket = engine.socket();
    let agent = Agent::start(&[("DOCKER_HOST", socket.to_str().unwrap())]);
    let mut client = client(&agent).await;
    assert_eq!(containers(&mut client, &[]).await.unwrap(), []);
    engine.kill();
    let request = GetContainerMetricsRequest {
        containers: vec!["x".to_owned()],
    };
    let refused = client.get_container_metrics(request).await.unwrap_err();
    assert_eq!(reason(&refused), "ENGINE_UNREACHABLE");
    let host = client.get_host_metrics(turbopanel_agent::proto::GetHostMetricsRequest::default());
    assert!(
        host.await
            .unwrap()
            .into_inner()
            .host
            .unwrap()
            .memory
            .is_some()
    );
    tokio::task::spawn_blocking(move || drop(engine))
        .await
        .unwrap();
}
