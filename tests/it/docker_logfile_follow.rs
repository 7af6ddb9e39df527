//! The engine's files while it writes them: rotation, cutting, slow readers, and what is left when nobody reads.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    time::Duration,
};

use turbopanel_agent::engines::docker::logs::{GapCause, LogEnd, LogRequest, Logs};

use crate::{
    docker_logfile_support::{both, from_files, log_path, take, texts, to_end, whole},
    docker_logs::ended,
    docker_support::{TestContainer, alone, docker, engine, eventually},
};

fn followed(container: &TestContainer) -> LogRequest {
    LogRequest {
        follow: true,
        ..whole(container)
    }
}

/// Prints so many numbered lines as soon as a line is typed.
fn printer(options: &[&str], lines: usize) -> TestContainer {
    let script = format!("until [ -e /go ]; do sleep 0.05; done; seq {lines}");
    TestContainer::run(options, &["sh", "-c", &script])
}

fn go(container: &TestContainer) {
    docker(None, &["exec", &container.name, "touch", "/go"]);
}

fn numbers(logs: &[String]) -> Vec<usize> {
    logs.iter().map(|line| line.parse().unwrap()).collect()
}

#[tokio::test]
async fn docker_logfile_a_follow_gives_each_line_and_ends_with_the_container() {
    for driver in ["--log-driver=json-file", "--log-driver=local"] {
        let container = TestContainer::run(
            &[driver, "-i"],
            &["sh", "-c", "echo ready; cat; printf last"],
        );
        let mut logs = from_files(&followed(&container)).await;
        let mut lines = Vec::new();
        take(&mut logs, &mut lines, 1).await;
        for n in 0..20 {
            let mut typed = std::process::Command::new("docker")
                .args([
                    "exec",
                    "-i",
                    &container.name,
                    "sh",
                    "-c",
                    &format!("echo line {n} >/proc/1/fd/1"),
                ])
                .spawn()
                .unwrap();
            typed.wait().unwrap();
            take(&mut logs, &mut lines, n + 2).await;
            assert_eq!(lines[n + 1].content, format!("line {n}"));
        }
        docker(None, &["stop", "-t", "0", &container.name]);
        let (rest, gaps, end) = to_end(logs).await;
        assert_eq!(
            (rest.len(), gaps.len(), end),
            (0, 0, LogEnd::ContainerEnded)
        );
        // What it printed before goes on in the file.
        docker(None, &["start", &container.name]);
        let mut again = from_files(&followed(&container)).await;
        take(&mut again, &mut lines, 21 + 22).await;
        drop(again);
        docker(None, &["stop", "-t", "0", &container.name]);
        both(&whole(&container)).await;
    }
}

#[tokio::test]
async fn docker_logfile_a_follow_begins_at_the_tail_and_ends_with_its_time() {
    let container = printer(&[], 1000);
    go(&container);
    docker(None, &["wait", &container.name]);
    docker(None, &["start", &container.name]);
    eventually("two runs have printed", async || {
        to_end(from_files(&whole(&container)).await).await.0.len() == 2000
    })
    .await;
    // It is over by now; one that goes on.
    let running = TestContainer::run(
        &[],
        &["sh", "-c", "seq 1000; while :; do echo x; sleep 0.01; done"],
    );
    eventually("it has printed", async || {
        to_end(from_files(&whole(&running)).await).await.0.len() > 1000
    })
    .await;
    for tail in [0, 5] {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let until = (now + Duration::from_millis(300)).as_nanos() as i64;
        let request = LogRequest {
            tail: Some(tail),
            until: Some(until),
            ..followed(&running)
        };
        let (lines, gaps, end) = to_end(from_files(&request).await).await;
        assert_eq!((gaps.len(), end), (0, LogEnd::Complete));
        assert!(
            lines.len() > tail as usize && lines.len() < 1000,
            "{}",
            lines.len()
        );
        assert!(
            lines
                .iter()
                .all(|line| line.time < until && line.content == "x")
        );
    }
}

#[tokio::test]
async fn docker_logfile_rotation_while_followed_loses_and_repeats_nothing() {
    const LINES: usize = 60_000;
    for (driver, compress, files) in [
        ("json-file", "false", "90"),
        ("json-file", "true", "90"),
        ("local", "true", "90"),
        ("json-file", "false", "2"),
    ] {
        let options = [
            "--log-driver",
            driver,
            "--log-opt",
            "max-size=100k",
            "--log-opt",
            &format!("max-file={files}"),
            "--log-opt",
            &format!("compress={compress}"),
        ];
        let container = printer(&options, LINES);
        let logs = from_files(&followed(&container)).await;
        go(&container);
        let (lines, gaps, end) = to_end(logs).await;
        assert_eq!(end, LogEnd::ContainerEnded);
        let numbers = numbers(&texts(&lines));
        // With room for all of them no file is missed, however slow this machine is. With two, one may be; and when
        // both were replaced meanwhile, nothing says whether it was just those.
        if files == "2" {
            let jumps: Vec<_> = (1..numbers.len())
                .filter(|at| numbers[*at] != numbers[at - 1] + 1)
                .collect();
            let told: Vec<_> = gaps.iter().map(|(at, _)| *at).collect();
            assert!(
                jumps.iter().all(|jump| told.contains(jump)),
                "{jumps:?} {told:?}"
            );
            assert!(numbers.is_sorted() && numbers.last() == Some(&LINES));
        } else {
            assert!(gaps.is_empty(), "{driver} {compress}: {gaps:?}");
            assert!((1..=LINES).eq(numbers), "{driver} {compress}");
        }
    }
}

#[tokio::test]
async fn docker_logfile_a_reader_that_was_away_is_told_of_the_gap() {
    const LINES: usize = 40_000;
    for compress in ["false", "true"] {
        let options = [
            "--log-opt",
            "max-size=100k",
            "--log-opt",
            "max-file=3",
            "--log-opt",
            &format!("compress={compress}"),
        ];
        let container = printer(&options, LINES);
        let mut logs = from_files(&followed(&container)).await;
        go(&container);
        let mut lines = Vec::new();
        assert!(take(&mut logs, &mut lines, 1).await.is_empty());
        // Meanwhile the engine goes through its files many times.
        docker(None, &["wait", &container.name]);
        let before = lines.len();
        let (rest, gaps, end) = to_end(logs).await;
        lines.extend(rest);
        assert_eq!(end, LogEnd::ContainerEnded);
        let numbers = numbers(&texts(&lines));
        assert_eq!(numbers.last(), Some(&LINES));
        let jumps: Vec<_> = (1..numbers.len())
            .filter(|at| numbers[*at] != numbers[at - 1] + 1)
            .collect();
        assert_eq!(jumps.len(), 1, "{jumps:?}");
        assert!(numbers.is_sorted());
        let [(at, gap)] = gaps[..] else {
            panic!("{gaps:?}");
        };
        assert_eq!(before + at, jumps[0]);
        assert_eq!(
            (gap.cause, gap.after),
            (GapCause::Rotated, Some(lines[jumps[0] - 1].time))
        );
    }
}

#[tokio::test]
async fn docker_logfile_a_file_that_is_cut_is_read_from_its_beginning() {
    let container = TestContainer::run(
        &[],
        &["sh", "-c", "seq 1000; while :; do echo x; sleep 0.02; done"],
    );
    let mut logs = from_files(&followed(&container)).await;
    let mut lines = Vec::new();
    take(&mut logs, &mut lines, 1010).await;
    let file = OpenOptions::new()
        .write(true)
        .open(log_path(&container))
        .unwrap();
    for _ in 0..3 {
        file.set_len(0).unwrap();
        let expected = lines.len() + 20;
        take(&mut logs, &mut lines, expected).await;
    }
    assert!(lines[1000..].iter().all(|line| line.content == "x"));
    let times: Vec<_> = lines.iter().map(|line| line.time).collect();
    assert!(times.is_sorted_by(|one, next| one < next));
}

#[tokio::test]
async fn docker_logfile_half_a_record_is_waited_for() {
    let container = TestContainer::run(&[], &["sh", "-c", "echo one; sleep 600"]);
    let mut logs = from_files(&followed(&container)).await;
    let mut lines = Vec::new();
    take(&mut logs, &mut lines, 1).await;
    let mut file = OpenOptions::new()
        .append(true)
        .open(log_path(&container))
        .unwrap();
    let record = br#"{"log":"by hand\n","stream":"stdout","time":"2026-01-01T00:00:00.5Z"}"#;
    for part in record.chunks(20) {
        file.write_all(part).unwrap();
        let nothing = tokio::time::timeout(Duration::from_millis(100), logs.next(&mut lines)).await;
        assert!(nothing.is_err());
    }
    file.write_all(b"\n").unwrap();
    assert!(take(&mut logs, &mut lines, 2).await.is_empty());
    assert_eq!(lines[1].content, "by hand");
    // One that never ends is told at the end, and not waited for when the log is not followed.
    file.write_all(&record[..30]).unwrap();
    let (_, gaps, _) = to_end(from_files(&whole(&container)).await).await;
    assert_eq!(
        (gaps[0].0, gaps[0].1.cause, gaps[0].1.bytes),
        (2, GapCause::Damaged, 30)
    );
    docker(None, &["kill", &container.name]);
    let (rest, gaps, end) = to_end(logs).await;
    assert_eq!((rest.len(), end), (0, LogEnd::ContainerEnded));
    assert_eq!((gaps[0].1.cause, gaps[0].1.bytes), (GapCause::Damaged, 30));
}

/// Descriptors and threads of this process, and of the engine's connections to it.
fn held() -> (usize, usize) {
    let count = |folder: &str| fs::read_dir(folder).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

#[tokio::test]
async fn docker_logfile_a_thousand_follows_leave_nothing() {
    if !alone(
        "docker_logfile_follow::docker_logfile_a_thousand_follows_leave_nothing",
        &["prlimit", "--nofile=16384"],
    ) {
        return;
    }
    let container = TestContainer::run(
        &[],
        &["sh", "-c", "seq 100; while :; do echo x; sleep 0.1; done"],
    );
    let engine = engine();
    let before = held();
    for _ in 0..5 {
        let mut follows: Vec<Logs> = Vec::new();
        for _ in 0..200 {
            let mut logs = engine.logs(followed(&container)).await.unwrap();
            assert!(logs.reads_files());
            logs.next(&mut Vec::new()).await.unwrap();
            follows.push(logs);
        }
        // All of them share one watch.
        let watches = fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        let watches = watches
            .filter(|link| link.as_os_str() == "anon_inode:inotify")
            .count();
        assert_eq!(watches, 1);
        // In the middle of waiting, too.
        for logs in &mut follows {
            let _ =
                tokio::time::timeout(Duration::from_millis(1), logs.next(&mut Vec::new())).await;
        }
    }
    eventually("nothing is left", async || held() <= before).await;
}

#[tokio::test]
async fn docker_logfile_a_log_without_a_watch_is_followed_by_the_clock() {
    if !alone(
        "docker_logfile_follow::docker_logfile_a_log_without_a_watch_is_followed_by_the_clock",
        &[],
    ) {
        return;
    }
    // Every descriptor for watching that this user may have.
    let mut taken = Vec::new();
    while let Ok(watch) = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC) {
        taken.push(watch);
        assert!(taken.len() < 4096, "there is no limit");
    }
    let container = printer(&[], 1000);
    let logs = from_files(&followed(&container)).await;
    go(&container);
    let (lines, gaps, end) = to_end(logs).await;
    assert_eq!(
        (lines.len(), gaps.len(), end),
        (1000, 0, LogEnd::ContainerEnded)
    );
}

#[tokio::test]
async fn docker_logfile_a_removed_container_ends_its_follow() {
    let container = TestContainer::run(&[], &["sh", "-c", "echo one; sleep 600"]);
    let mut logs = from_files(&followed(&container)).await;
    take(&mut logs, &mut Vec::new(), 1).await;
    docker(None, &["rm", "-f", &container.name]);
    let (rest, gaps, end) = to_end(logs).await;
    assert_eq!(
        (rest.len(), gaps.len(), end),
        (0, 0, LogEnd::ContainerEnded)
    );
    drop(ended(&[], "true"));
}
