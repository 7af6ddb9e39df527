//! Busy logs are read by the clock, quiet ones by event, and neither loses anything.

use std::{io::Write, process::Stdio, time::Duration};

use futures_util::StreamExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use turbopanel_agent::{
    engines::docker::logs::LogRequest,
    proto::{StreamLogsRequest, log_end::Reason, stream_logs_response::Event},
    services::log::LogApi,
};

use crate::{
    docker_logfile_support::api_engine,
    docker_logs::{ended, of, open},
    docker_support::{TestContainer, alone, docker},
};

/// Clocks that this process has: one for each stream that is read by it.
fn clocks() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|link| link.as_os_str() == "anon_inode:[timerfd]")
        .count()
}

#[tokio::test]
async fn a_busy_follow_loses_nothing_when_it_turns_quiet() {
    const LINES: usize = 50_000;
    const MOST: usize = 8;
    if !alone(
        "docker_log_pace::a_busy_follow_loses_nothing_when_it_turns_quiet",
        &[],
    ) {
        return;
    }
    let script = format!("while read a; do seq {LINES}; echo end; done");
    let container = TestContainer::create(&["-i"], &["sh", "-c", &script]);
    docker(None, &["start", &container.name]);
    let mut input = std::process::Command::new("docker")
        .args(["attach", "--sig-proxy=false", &container.name])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut typed = input.stdin.take().unwrap();
    let request = StreamLogsRequest {
        follow: true,
        ..of(&container.name)
    };
    let mut events = open(&LogApi::new(api_engine()), request).await.unwrap();
    let (mut lines, mut rounds, mut clocked) = (Vec::new(), 0, 0);
    // On a machine with little time the reader finds much at once, and needs no clock: what holds then is all
    // but that the clock was there.
    while clocked < 2 && rounds < MOST {
        rounds += 1;
        typed.write_all(b"\n").unwrap();
        let (mut batches, mut by_clock) = (0, false);
        while lines.len() < rounds * (LINES + 1) {
            let next = tokio::time::timeout(Duration::from_secs(30), events.next()).await;
            let Some(Event::Batch(batch)) = next.unwrap().unwrap().unwrap().event else {
                panic!("ended after {} lines", lines.len());
            };
            lines.extend(batch.lines.into_iter().map(|line| line.content));
            batches += 1;
            by_clock = by_clock || (batches % 128 == 0 && clocks() > 0);
        }
        assert_eq!(lines.last().unwrap(), "end");
        // Nothing comes, and a while of that stops the clock.
        let nothing = tokio::time::timeout(Duration::from_secs(1), events.next()).await;
        assert!(nothing.is_err() && clocks() == 0, "{nothing:?}");
        clocked += usize::from(by_clock);
    }
    if clocked < 2 {
        eprintln!("{clocked} of {rounds} rounds were read by the clock: the machine is busy");
    }
    drop(typed);
    let _ = input.wait();
    let end = events.next().await.unwrap().unwrap().event;
    assert!(matches!(end, Some(Event::End(end)) if end.reason() == Reason::ContainerEnded));
    let number = |line: &bytes::Bytes| std::str::from_utf8(line).unwrap().parse::<usize>().ok();
    let numbers = lines.iter().filter_map(number);
    assert!(numbers.eq((0..rounds).flat_map(|_| 1..=LINES)));
}

/// Without a descriptor for a clock a busy stream goes on by event.
#[tokio::test]
async fn a_busy_log_needs_no_further_descriptor() {
    const LINES: usize = 200_000;
    if !alone(
        "docker_log_pace::a_busy_log_needs_no_further_descriptor",
        &[],
    ) {
        return;
    }
    let container = ended(&[], &format!("seq {LINES}"));
    let request = LogRequest {
        container: container.named(),
        follow: false,
        tail: None,
        since: None,
        until: None,
        stdout: true,
        stderr: true,
    };
    let mut logs = api_engine().logs(request).await.unwrap();
    // The lowest number that is free is the first one above the new limit.
    let free = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/dev/null").unwrap());
    let before = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: Some(free as u64),
        ..before
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut lines = Vec::new();
    loop {
        let mut batch = Vec::new();
        let end = logs.next(&mut batch).await.unwrap();
        lines.extend(batch);
        if end.is_some() {
            break;
        }
    }
    assert!(std::fs::File::open("/dev/null").is_err());
    setrlimit(Resource::Nofile, before).unwrap();
    assert_eq!(lines.len(), LINES);
}
