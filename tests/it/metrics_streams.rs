//! Streams of figures: in their interval, from what is kept on, and to their end.

use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use tokio_stream::StreamExt;
use tonic::{Code, Streaming};
use turbopanel_agent::proto::{
    StreamContainerMetricsRequest, StreamContainerMetricsResponse, StreamHostMetricsRequest,
    StreamHostMetricsResponse,
};

use crate::{
    agent_support::Agent,
    docker_support::{TestContainer, docker},
    metrics_support::{FIXTURE, client, reason},
};

async fn next<T>(stream: &mut Streaming<T>) -> T {
    let next = tokio::time::timeout(Duration::from_secs(60), stream.next()).await;
    next.expect("within 60 s").expect("a message").unwrap()
}

fn every(seconds: u64) -> Option<prost_types::Duration> {
    Duration::from_secs(seconds).try_into().ok()
}

fn at(message: &StreamHostMetricsResponse) -> SystemTime {
    let time = message.host.as_ref().unwrap().time.unwrap();
    time.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn live_samples_come_one_after_the_other() {
    let agent = Agent::start(&[]);
    let mut client = client(&agent).await;
    let request = StreamHostMetricsRequest {
        interval: every(1),
        since: None,
    };
    let mut stream = client
        .stream_host_metrics(request)
        .await
        .unwrap()
        .into_inner();
    let mut last = SystemTime::UNIX_EPOCH;
    for _ in 0..3 {
        let message = next(&mut stream).await;
        let now = at(&message);
        assert!(now >= last + Duration::from_millis(900), "{last:?} {now:?}");
        assert!(!message.kept && message.kept_since.is_none());
        let host = message.host.unwrap();
        assert!(host.cpu.unwrap().busy_ratio.is_some());
        last = now;
    }
}

/// Reads a stream from `since` until it is live, and checks that nothing is missing or twice.
async fn whole(agent: &Agent, since: SystemTime) -> (Vec<SystemTime>, SystemTime) {
    let request = StreamHostMetricsRequest {
        interval: every(10),
        since: Some(since.into()),
    };
    let mut stream = client(agent)
        .await
        .stream_host_metrics(request)
        .await
        .unwrap()
        .into_inner();
    let mut kept: Vec<SystemTime> = Vec::new();
    loop {
        let message = next(&mut stream).await;
        let now = at(&message);
        let told = message.kept_since.is_some();
        let first = kept.is_empty() && message.kept;
        assert_eq!(told, first, "kept_since stands in the first message");
        if let Some(last) = kept.last() {
            let apart = now.duration_since(*last).unwrap();
            assert!(
                apart >= Duration::from_secs(9),
                "{apart:?} after the one before"
            );
        }
        if !message.kept {
            return (kept, now);
        }
        kept.push(now);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_away_has_no_hole() {
    let container = TestContainer::run(&[], &["sleep", "600"]);
    let began = SystemTime::now();
    let agent = Agent::start(&[]);
    // Three steps are kept after 30 s.
    let mut first = (Vec::new(), began);
    for _ in 0..6 {
        first = whole(&agent, began).await;
        if first.0.len() >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let (kept, live) = first;
    assert!(kept.len() >= 3, "{kept:?}");
    // Steps are 10 s apart, and the live one follows the last of them by its interval.
    for pair in kept.windows(2) {
        let apart = pair[1].duration_since(pair[0]).unwrap();
        assert!(apart < Duration::from_secs(25), "{apart:?}");
    }
    assert!(live > *kept.last().unwrap());
    // From a kept sample on: the next ones, and not that one again.
    let (again, _) = whole(&agent, kept[0]).await;
    assert_eq!(again[..kept.len() - 1], kept[1..]);

    // The containers of the same steps, with what is computed from the step before.
    let request = StreamContainerMetricsRequest {
        containers: vec![container.name.clone()],
        interval: every(10),
        since: Some(kept[0].into()),
    };
    let mut stream = client(&agent)
        .await
        .stream_container_metrics(request)
        .await
        .unwrap()
        .into_inner();
    for (index, expected) in kept[1..].iter().enumerate() {
        let message = next(&mut stream).await;
        assert!(message.kept);
        let time: SystemTime = message.time.unwrap().try_into().unwrap();
        assert_eq!(time, *expected);
        assert_eq!(message.containers.len(), 1);
        let found = &message.containers[0];
        assert_eq!(
            (found.name.as_str(), found.pids),
            (container.name.as_str(), Some(1))
        );
        assert!(found.memory_usage_bytes > Some(0), "{found:?}");
        // The very first step may have come before the engine was known.
        assert!(index == 0 || found.cpu_percent.is_some(), "{found:?}");
    }
    // Thinned to a longer interval, the first is there and fewer come after it.
    let request = StreamHostMetricsRequest {
        interval: every(20),
        since: Some(began.into()),
    };
    let mut stream = client(&agent)
        .await
        .stream_host_metrics(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(at(&next(&mut stream).await), kept[0]);
    assert_eq!(at(&next(&mut stream).await), kept[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_come_and_go_in_a_stream() {
    let container = TestContainer::run(&[], &["sleep", "600"]);
    let agent = Agent::start(&[]);
    let mut client = client(&agent).await;
    let request = |name: &str| StreamContainerMetricsRequest {
        containers: vec![name.to_owned()],
        interval: every(1),
        since: None,
    };
    let stream = client
        .stream_container_metrics(request(&container.name))
        .await;
    let mut stream = stream.unwrap().into_inner();
    let id = next(&mut stream).await.containers[0].id.clone();
    let until = async |stream: &mut Streaming<StreamContainerMetricsResponse>,
                       what: &str,
                       so: &dyn Fn(&StreamContainerMetricsResponse) -> bool| {
        for _ in 0..30 {
            if so(&next(stream).await) {
                return;
            }
        }
        panic!("never: {what}");
    };
    docker(None, &["rm", "-f", &container.name]);
    until(&mut stream, "it is gone", &|message| {
        message.containers.is_empty()
    })
    .await;
    docker(
        None,
        &[
            "run",
            "-d",
            "--net=none",
            "--name",
            &container.name,
            crate::docker_support::IMAGE,
            "sleep",
            "600",
        ],
    );
    until(&mut stream, "it is there again", &|message| {
        message
            .containers
            .first()
            .is_some_and(|found| found.id != id)
    })
    .await;
    let refused = client
        .stream_container_metrics(request("tpd-no-such-container"))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "CONTAINER_NOT_FOUND");
}

/// A container that came and went while nobody listened is in the steps of its time, asked for by a name or an id that
/// the engine knows no more.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_and_went_is_kept() {
    let began = SystemTime::now();
    let agent = Agent::start(&[]);
    let mut client = client(&agent).await;
    let container = TestContainer::run(&[], &["sleep", "600"]);
    let id = docker(None, &["inspect", "-f", "{{.Id}}", &container.name]);
    let id = id.trim();
    let request = |name: &str, since: Option<SystemTime>| StreamContainerMetricsRequest {
        containers: vec![name.to_owned()],
        interval: every(10),
        since: since.map(Into::into),
    };
    // Somebody asks, and with that the steps begin; one of them has it.
    let mut kept = false;
    for _ in 0..12 {
        let asked = client.stream_container_metrics(request(id, Some(began)));
        let mut stream = asked.await.unwrap().into_inner();
        let mut message = next(&mut stream).await;
        while message.kept && !kept {
            kept = message.containers.iter().any(|one| one.id == id);
            message = next(&mut stream).await;
        }
        if kept {
            break;
        }
    }
    assert!(kept, "no step has it");
    docker(None, &["rm", "-f", &container.name]);
    for asked in [&*container.name, id, &id[..20]] {
        let stream = client.stream_container_metrics(request(asked, Some(began)));
        let mut stream = stream.await.unwrap().into_inner();
        let (mut seen, mut live) = (0, false);
        while !live {
            let message = next(&mut stream).await;
            live = !message.kept;
            assert!(!live || message.containers.is_empty(), "{message:?}");
            for found in message.containers {
                assert_eq!((found.id.as_str(), found.pids), (id, Some(1)));
                seen += 1;
            }
        }
        assert!(seen > 0, "{asked}");
    }
    let refused = client.stream_container_metrics(request(&container.name, None));
    assert_eq!(reason(&refused.await.unwrap_err()), "CONTAINER_NOT_FOUND");
    let refused = client.stream_container_metrics(request("tpd-no-such-container", Some(began)));
    assert_eq!(reason(&refused.await.unwrap_err()), "CONTAINER_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused() {
    let agent = Agent::start(&[("AGENT_HOST_ROOT", FIXTURE)]);
    let mut client = client(&agent).await;
    let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let span = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    for (interval, since) in [
        (span(0, 0), None),
        (span(0, 999_999_999), None),
        (span(3601, 0), None),
        (span(-5, 0), None),
        (span(i64::MAX, i32::MAX), None),
        (None, time(0, -1)),
        (None, time(0, 1_000_000_000)),
        (None, time(i64::MAX, 0)),
        (None, time(i64::MIN, 0)),
    ] {
        let request = StreamHostMetricsRequest { interval, since };
        let refused = client.stream_host_metrics(request).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_FIELD", "{interval:?} {since:?}");
    }
    // Long ago and far ahead are times like others.
    for since in [time(-62_135_596_800, 0), time(253_402_300_799, 999_999_999)] {
        let request = StreamHostMetricsRequest {
            interval: None,
            since,
        };
        let mut stream = client
            .stream_host_metrics(request)
            .await
            .unwrap()
            .into_inner();
        next(&mut stream).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_bounded_and_end_with_the_agent() {
    let mut agent = Agent::start(&[]);
    let mut client = client(&agent).await;
    let request = StreamHostMetricsRequest {
        interval: every(3600),
        since: None,
    };
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(
            client
                .stream_host_metrics(request)
                .await
                .unwrap()
                .into_inner(),
        );
    }
    let refused = client.stream_host_metrics(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::ResourceExhausted, "LIMIT_REACHED")
    );
    // Whoever goes makes room.
    streams.truncate(1);
    let mut room = None;
    for _ in 0..300 {
        room = client.stream_host_metrics(request).await.ok();
        if room.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(room.is_some(), "no room after the others went");
    let mut stream = streams.remove(0);
    next(&mut stream).await;
    agent.signal(Signal::TERM);
    let ended = tokio::time::timeout(Duration::from_secs(30), stream.next()).await;
    let ended = ended.unwrap().unwrap().unwrap_err();
    assert_eq!(reason(&ended), "AGENT_STOPPING");
    assert_eq!(agent.ended().code(), Some(0));
}
