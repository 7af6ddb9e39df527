//! `LogService` against a real engine.

use std::{future::poll_fn, time::Duration};

use futures_util::StreamExt;
use tonic::{Code, Request, Status};
use turbopanel_agent::{
    engines::docker::{Engine, EngineAddress},
    proto::{
        self, LogLine, OutputStream, StreamLogsRequest, log_end::Reason,
        log_service_server::LogService, stream_logs_response::Event,
    },
    services::log::LogApi,
};

use crate::{
    docker_containers::reason,
    docker_logfile_support::api_engine_at,
    docker_relay::{ENGINE, Relay},
    docker_support::{TestContainer, docker, engine, eventually},
};

type Events = <LogApi as LogService>::StreamLogsStream;

pub async fn open(api: &LogApi, request: StreamLogsRequest) -> Result<Events, Status> {
    Ok(api.stream_logs(Request::new(request)).await?.into_inner())
}

pub fn of(name: &str) -> StreamLogsRequest {
    StreamLogsRequest {
        container: name.to_owned(),
        ..StreamLogsRequest::default()
    }
}

/// Reads to the end.
pub async fn all(request: StreamLogsRequest) -> (Vec<LogLine>, Reason) {
    let mut events = open(&LogApi::new(engine()), request).await.unwrap();
    let (mut lines, mut end) = (Vec::new(), None);
    while let Some(event) = events.next().await {
        assert!(end.is_none(), "something after the end");
        match event.unwrap().event.unwrap() {
            Event::Batch(batch) => {
                assert!(!batch.lines.is_empty());
                let size = prost::Message::encoded_len(&batch);
                assert!(size < 1 << 20, "{size}");
                lines.extend(batch.lines);
            }
            Event::End(last) => end = Some(last.reason()),
            other => panic!("{other:?}"),
        }
    }
    (lines, end.unwrap())
}

/// A container that has printed and ended.
pub fn ended(options: &[&str], script: &str) -> TestContainer {
    let container = TestContainer::run(options, &["sh", "-c", script]);
    docker(None, &["wait", &container.name]);
    container
}

fn text(lines: &[LogLine]) -> Vec<String> {
    lines
        .iter()
        .map(|line| String::from_utf8_lossy(&line.content).into_owned())
        .collect()
}

#[tokio::test]
async fn both_streams_come_with_times() {
    let container = ended(
        &[],
        "echo one; sleep 0.05; echo two >&2; sleep 0.05; printf three",
    );
    let (lines, end) = all(of(&container.name)).await;
    assert_eq!(end, Reason::Complete);
    assert_eq!(text(&lines), ["one", "two", "three"]);
    let streams: Vec<_> = lines.iter().map(LogLine::stream).collect();
    assert_eq!(
        streams,
        [
            OutputStream::Stdout,
            OutputStream::Stderr,
            OutputStream::Stdout
        ]
    );
    assert!(lines.is_sorted_by_key(|line| line.time_unix_nano));
    assert!(lines[0].time_unix_nano > 1_700_000_000_000_000_000);
    let partial: Vec<_> = lines.iter().map(|line| line.partial).collect();
    assert_eq!(partial, [false, false, true]);

    let one = StreamLogsRequest {
        streams: vec![OutputStream::Stderr.into()],
        ..of(&container.name)
    };
    assert_eq!(text(&all(one).await.0), ["two"]);
    let last = StreamLogsRequest {
        tail_lines: Some(2),
        ..of(&container.name)
    };
    assert_eq!(text(&all(last.clone()).await.0), ["two", "three"]);
    // The engine counts before the streams are chosen.
    let last = StreamLogsRequest {
        streams: vec![OutputStream::Stdout.into()],
        ..last
    };
    assert_eq!(text(&all(last).await.0), ["three"]);
    let none = StreamLogsRequest {
        tail_lines: Some(0),
        ..of(&container.name)
    };
    assert!(all(none).await.0.is_empty());
    let followed = StreamLogsRequest {
        follow: true,
        ..of(&container.name)
    };
    let (lines, end) = all(followed).await;
    assert_eq!((lines.len(), end), (3, Reason::Complete));
}

#[tokio::test]
async fn since_and_until_are_exact_to_the_nanosecond() {
    let container = ended(&[], "for i in $(seq 50); do echo $i; done");
    let (lines, _) = all(of(&container.name)).await;
    assert_eq!(lines.len(), 50);
    let at = |nanos: i64| {
        Some(prost_types::Timestamp {
            seconds: nanos / 1_000_000_000,
            nanos: (nanos % 1_000_000_000) as i32,
        })
    };
    let times: Vec<i64> = lines.iter().map(|line| line.time_unix_nano).collect();
    for (from, to) in [(0, 50), (10, 20), (7, 8), (30, 30), (49, 50)] {
        let (since, until) = (
            times[from],
            times.get(to).map_or(times[49] + 1, |time| *time),
        );
        let request = StreamLogsRequest {
            since: at(since),
            until: at(until),
            ..of(&container.name)
        };
        let (got, end) = all(request).await;
        let expected: Vec<_> = times
            .iter()
            .filter(|time| (since..until).contains(time))
            .collect();
        assert_eq!(
            got.iter()
                .map(|line| &line.time_unix_nano)
                .collect::<Vec<_>>(),
            expected
        );
        assert_eq!(end, Reason::Complete);
    }
    let after = StreamLogsRequest {
        since: at(times[20] + 1),
        ..of(&container.name)
    };
    let expected = times.iter().filter(|time| **time > times[20]).count();
    assert_eq!(all(after).await.0.len(), expected);
}

#[tokio::test]
async fn a_follow_gives_each_line_at_once_and_ends_with_the_container() {
    let container = TestContainer::run(
        &["-i"],
        &["sh", "-c", "echo ready; read a; echo last; exit 0"],
    );
    let request = StreamLogsRequest {
        follow: true,
        ..of(&container.name)
    };
    let mut events = open(&LogApi::new(engine()), request).await.unwrap();
    let Some(Event::Batch(batch)) = events.next().await.unwrap().unwrap().event else {
        panic!("no batch");
    };
    assert_eq!(text(&batch.lines), ["ready"]);
    // Nothing is there: it waits.
    assert!(poll_fn(|cx| std::task::Poll::Ready(events.poll_next_unpin(cx).is_pending())).await);
    docker(None, &["kill", "-s", "KILL", &container.name]);
    let Some(Event::End(end)) = events.next().await.unwrap().unwrap().event else {
        panic!("no end");
    };
    assert_eq!(end.reason(), Reason::ContainerEnded);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_follow_ends_when_its_time_is_over() {
    let container = TestContainer::run(&[], &["sh", "-c", "while :; do echo x; sleep 0.02; done"]);
    eventually("it has printed", async || {
        all(of(&container.name)).await.0.len() > 5
    })
    .await;
    let until = std::time::SystemTime::now() + Duration::from_secs(1);
    let request = StreamLogsRequest {
        follow: true,
        until: Some(until.into()),
        ..of(&container.name)
    };
    // However long the machine takes for it: it ends by itself, after its time, while the container goes on.
    let (lines, end) = tokio::time::timeout(Duration::from_secs(30), all(request))
        .await
        .unwrap();
    assert_eq!(end, Reason::Complete);
    assert!(std::time::SystemTime::now() >= until);
    assert!(lines.len() > 5, "{}", lines.len());
    let until = until
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as i64;
    assert!(lines.iter().all(|line| line.time_unix_nano < until));
    let running = ["inspect", "-f", "{{.State.Running}}", &container.name];
    assert_eq!(docker(None, &running), "true");
}

/// The engine's open files, as its own host sees them.
fn engine_files(address: &std::path::Path) -> usize {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    sockets
        .lines()
        .filter(|line| line.ends_with(address.to_str().unwrap()))
        .count()
}

#[tokio::test]
async fn a_caller_that_goes_away_closes_the_engines_connection() {
    // An engine's address of the test's own, so that other tests' connections do not count.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let relay = Relay::start(&path, ENGINE);
    let engine = Engine::new(EngineAddress::Unix(path.clone()));
    let container = TestContainer::run(&[], &["sh", "-c", "while :; do echo x; sleep 0.01; done"]);
    let api = LogApi::new(engine.clone());
    let mut follows = Vec::new();
    for _ in 0..10 {
        let request = StreamLogsRequest {
            follow: true,
            ..of(&container.name)
        };
        let mut events = open(&api, request).await.unwrap();
        events.next().await.unwrap().unwrap();
        follows.push(events);
    }
    eventually("ten connections are open", async || relay.open() == 10).await;
    assert!(engine_files(&path) >= 10);
    drop(follows);
    eventually("none is left", async || relay.open() == 0).await;
}

#[tokio::test]
async fn a_caller_that_stops_stops_the_engine_and_loses_nothing() {
    let container = ended(&[], "seq 200000");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let relay = Relay::start(&path, ENGINE);
    let engine = api_engine_at(EngineAddress::Unix(path));
    let mut events = open(&LogApi::new(engine), of(&container.name))
        .await
        .unwrap();
    let mut next = 1;
    let mut take = |event: Option<Result<proto::StreamLogsResponse, Status>>| {
        if let Some(Event::Batch(batch)) = event.unwrap().unwrap().event {
            for line in batch.lines {
                assert_eq!(line.content, next.to_string());
                next += 1;
            }
            return true;
        }
        assert_eq!(next, 200_001);
        false
    };
    assert!(take(events.next().await));
    // The caller reads no further: what the sockets hold is all that is still taken.
    let mut taken = 0;
    eventually("nothing more is taken", async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = std::mem::replace(&mut taken, relay.taken());
        before == taken
    })
    .await;
    assert!(taken < 3 << 20, "{taken} bytes were taken");
    while take(events.next().await) {}
    assert!(relay.taken() > 8 << 20, "{} bytes in all", relay.taken());
}

#[tokio::test]
async fn drivers_are_told_apart() {
    let none = ended(&["--log-driver", "none"], "echo x");
    let refused = open(&LogApi::new(engine()), of(&none.name))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(
        reason(&refused),
        proto::ErrorReason::LogsNotReadable.as_str_name()
    );
    let local = ended(&["--log-driver", "local"], "echo x; echo y");
    assert_eq!(text(&all(of(&local.name)).await.0), ["x", "y"]);
    let missing = open(&LogApi::new(engine()), of("tpd-nosuch"))
        .await
        .err()
        .unwrap();
    assert_eq!(
        reason(&missing),
        proto::ErrorReason::ContainerNotFound.as_str_name()
    );
    let hostile = open(&LogApi::new(engine()), of("a/../b"))
        .await
        .err()
        .unwrap();
    assert_eq!(
        reason(&hostile),
        proto::ErrorReason::InvalidField.as_str_name()
    );
}
