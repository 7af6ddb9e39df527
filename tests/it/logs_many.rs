//! The logs of many containers as one, against a real engine.

use std::collections::HashMap;

use tonic::Code;
use turbopanel_agent::proto::{
    LogLine, LogSelection, StreamLogsRequest, log_end, log_source_end::Reason,
};

use crate::{
    docker_containers::reason,
    docker_support::{IMAGE, TestContainer, docker, engine, unique},
    logs_support::{Got, Marked},
};

fn by_names(names: &[&str]) -> StreamLogsRequest {
    StreamLogsRequest {
        selection: Some(LogSelection {
            containers: names.iter().map(|name| (*name).to_owned()).collect(),
            ..LogSelection::default()
        }),
        ..StreamLogsRequest::default()
    }
}

/// Each prints its own lines and ends.
fn three(marked: &Marked) -> [TestContainer; 3] {
    let script = |name: &str| format!("for i in $(seq 200); do echo {name} $i; sleep 0.001; done");
    let started = ["a", "b", "c"]
        .map(|name| marked.run(&["--label", "com.docker.compose.service=s"], &script(name)));
    for container in &started {
        docker(None, &["wait", &container.name]);
    }
    started
}

#[tokio::test]
async fn what_is_stored_comes_in_the_order_of_time() {
    let marked = Marked::new();
    let containers = three(&marked);
    let all = Got::all(engine(), marked.request(false)).await;
    assert_eq!(all.end, Some(log_end::Reason::Complete));
    assert_eq!(all.lines.len(), 600);
    assert!(all.lines.is_sorted_by_key(|line| line.time_unix_nano));
    for (container, name) in containers.iter().zip(["a", "b", "c"]) {
        let expected: Vec<String> = (1..=200).map(|i| format!("{name} {i}")).collect();
        assert_eq!(all.of(&container.name), expected);
    }
    let source = all.sources.values().next().unwrap();
    assert_eq!(
        (source.service.as_str(), source.project.as_str()),
        ("s", "")
    );
    assert!(all.sources.len() == 3 && source.container_id.len() == 64);

    let names = [containers[0].name.as_str(), containers[2].name.as_str()];
    let two = Got::all(engine(), by_names(&names)).await;
    assert_eq!((two.lines.len(), two.sources.len()), (400, 2));

    // The last lines of all together, also where one has fewer than asked for.
    for tail in [0, 1, 7, 250, 600, 5000] {
        let request = StreamLogsRequest {
            tail_lines: Some(tail),
            ..marked.request(false)
        };
        let last = Got::all(engine(), request).await;
        let expected = all.lines.iter().rev().take(tail as usize).rev();
        let bare = |line: &LogLine| (line.time_unix_nano, line.content.clone());
        assert!(last.lines.iter().map(bare).eq(expected.map(bare)), "{tail}");
    }
    // A range.
    let (from, to) = (all.lines[100].time_unix_nano, all.lines[300].time_unix_nano);
    let at = |nanos: i64| {
        Some(prost_types::Timestamp {
            seconds: nanos / 1_000_000_000,
            nanos: (nanos % 1_000_000_000) as i32,
        })
    };
    let request = StreamLogsRequest {
        since: at(from),
        until: at(to),
        ..marked.request(false)
    };
    let range = Got::all(engine(), request).await;
    let within = all
        .lines
        .iter()
        .filter(|line| (from..to).contains(&line.time_unix_nano));
    assert_eq!(range.lines.len(), within.count());
}

#[tokio::test]
async fn every_cursor_leads_on_exactly() {
    let marked = Marked::new();
    let containers = three(&marked);
    // Several batches, by a filter that gives what lies between.
    let whole = Got::all(engine(), marked.request(false)).await;
    let mut follow = Got::open(engine(), marked.request(true)).await.unwrap();
    follow
        .until("something comes", |got| !got.lines.is_empty())
        .await;
    drop(containers);
    // By the lines themselves: cut after each of some numbers of lines, in a stream of single batches.
    let marked = Marked::new();
    let script = "for i in $(seq 60); do echo $i; echo $i >&2; sleep 0.05; done; sleep 600";
    let names = [
        marked.run(&[], script),
        marked.run(&["--log-driver", "local"], script),
    ];
    let mut lines: Vec<LogLine> = Vec::new();
    let mut cursor = bytes::Bytes::new();
    let mut cuts = 0;
    let per_container = |lines: &[LogLine]| lines.len();
    while per_container(&lines) < 240 {
        let request = StreamLogsRequest {
            cursor: cursor.clone(),
            ..marked.request(true)
        };
        let mut got = Got::open(engine(), request).await.unwrap();
        got.until("more comes", |got| !got.lines.is_empty()).await;
        assert_eq!(got.gaps, []);
        let ids: HashMap<u32, String> = got
            .sources
            .values()
            .map(|source| (source.index, source.container_name.clone()))
            .collect();
        cursor = got.cursor.clone();
        for mut line in got.lines {
            // Numbers of sources are the stream's own.
            line.source = names
                .iter()
                .position(|one| one.name == ids[&line.source])
                .unwrap() as u32;
            lines.push(line);
        }
        cuts += 1;
    }
    assert!(cuts > 3, "{cuts}");
    for source in 0..2 {
        for stream in 1..=2 {
            let of = lines
                .iter()
                .filter(|line| line.source == source && line.stream == stream);
            let numbers: Vec<String> = of
                .map(|line| String::from_utf8_lossy(&line.content).into_owned())
                .collect();
            let expected: Vec<String> = (1..=60).map(|i| i.to_string()).collect();
            assert_eq!(
                numbers, expected,
                "source {source}, stream {stream}, {cuts} cuts"
            );
        }
    }
    assert_eq!(whole.lines.len(), 600);
    // The log of one container has cursors, too.
    let one = StreamLogsRequest {
        container: names[0].name.clone(),
        tail_lines: Some(1),
        ..StreamLogsRequest::default()
    };
    let last = Got::all(engine(), one.clone()).await;
    let nothing = Got::all(
        engine(),
        StreamLogsRequest {
            cursor: last.cursor,
            ..one.clone()
        },
    )
    .await;
    assert_eq!(nothing.texts(), [""; 0]);
    for wrong in [&b"\x01wrong"[..], b"\x02", &[1; 200_000]] {
        let request = StreamLogsRequest {
            cursor: wrong.to_vec().into(),
            ..one.clone()
        };
        let refused = Got::open(engine(), request).await.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(reason(&refused), "INVALID_FIELD");
    }
}

#[tokio::test]
async fn containers_that_come_end_and_come_again_are_followed() {
    let marked = Marked::new();
    let first = marked.run(&[], "echo one; sleep 600");
    let mut got = Got::open(engine(), marked.request(true)).await.unwrap();
    got.until("the first line", |got| got.has("one")).await;
    let second = marked.run(&[], "echo two; while :; do sleep 0.1; echo tick; done");
    got.until("one that came later", |got| got.has("two")).await;
    // Renamed, and told so with a line that comes soon.
    let name = format!("{}-renamed", second.name);
    docker(None, &["rename", &second.name, &name]);
    let renamed = |got: &Got| got.sources.values().any(|one| one.container_name == name);
    got.until("its new name", renamed).await;
    docker(None, &["restart", "-t", "0", &name]);
    let twice = |got: &Got| got.texts().iter().filter(|text| *text == "two").count() == 2;
    got.until("started again", twice).await;
    docker(None, &["rm", "-f", &name]);
    let removed = (name.clone(), Reason::ContainerRemoved);
    got.until("removed", |got| got.ends.contains(&removed))
        .await;
    assert!(got.ends.contains(&(name, Reason::ContainerEnded)));
    // One that prints and is gone at once is there long enough to be read.
    let brief = marked.run(&[], "echo brief");
    got.until("a brief one", |got| got.has("brief")).await;
    let ended = (brief.name.clone(), Reason::ContainerEnded);
    got.until("its end", |got| got.ends.contains(&ended)).await;
    // And again, as briefly: its lines are new, and the old ones are not.
    docker(None, &["start", &brief.name]);
    got.until("the brief one again", |got| {
        got.of(&brief.name) == ["brief", "brief"]
    })
    .await;
    assert_eq!(got.texts().iter().filter(|text| *text == "one").count(), 1);
    drop((first, brief));
}

#[tokio::test]
async fn a_name_is_followed_from_container_to_container() {
    let first = TestContainer::run(&[], &["sh", "-c", "echo first; sleep 600"]);
    let request = StreamLogsRequest {
        follow: true,
        ..by_names(&[&first.name])
    };
    let mut got = Got::open(engine(), request).await.unwrap();
    got.until("the first", |got| got.has("first")).await;
    docker(None, &["rm", "-f", &first.name]);
    docker(
        None,
        &[
            "run",
            "-d",
            "--net=none",
            "--name",
            &first.name,
            IMAGE,
            "sh",
            "-c",
            "echo second; sleep 600",
        ],
    );
    got.until("its successor", |got| got.has("second")).await;
    assert_eq!(got.sources.len(), 2);
    // A cursor outlives the container.
    let request = StreamLogsRequest {
        follow: true,
        cursor: got.cursor.clone(),
        ..by_names(&[&first.name])
    };
    docker(None, &["rm", "-f", &first.name]);
    let mut again = Got::open(engine(), request).await.unwrap();
    docker(
        None,
        &[
            "run",
            "-d",
            "--net=none",
            "--name",
            &first.name,
            IMAGE,
            "sh",
            "-c",
            "echo third; sleep 600",
        ],
    );
    again.until("the third", |got| got.has("third")).await;
    assert_eq!(again.texts(), ["third"]);
}

/// A container with a label of 1 MB, which no command line takes.
fn with_large_label(mark: &str) -> TestContainer {
    use std::io::{Read as _, Write as _};
    let container = TestContainer { name: unique("c") };
    let labels = format!(r#"{{"tp-test":"{mark}","big":"{}"}}"#, "x".repeat(1 << 20));
    let script = r#"["sh","-c","echo y; sleep 600"]"#;
    let body = format!(r#"{{"Image":"{IMAGE}","Cmd":{script},"Labels":{labels}}}"#);
    let mut engine = std::os::unix::net::UnixStream::connect("/var/run/docker.sock").unwrap();
    write!(
        engine,
        "POST /containers/create?name={} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        container.name,
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    engine.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    docker(None, &["start", &container.name]);
    container
}

#[tokio::test]
async fn what_cannot_be_read_is_told() {
    let marked = Marked::new();
    let none = marked.run(&["--log-driver", "none"], "echo x; sleep 600");
    let other = with_large_label(marked.name());
    let mut got = Got::open(engine(), marked.request(true)).await.unwrap();
    got.until("the readable one", |got| got.has("y")).await;
    let unreadable = (none.name.clone(), Reason::NotReadable);
    got.until("the other one", |got| got.ends.contains(&unreadable))
        .await;

    let named = Got::open(engine(), by_names(&[&other.name, &none.name])).await;
    let mut named = named.unwrap();
    let refused = loop {
        if let Err(refused) = named.next().await {
            break refused;
        }
    };
    assert_eq!(reason(&refused), "LOGS_NOT_READABLE");
    let missing = Got::open(engine(), by_names(&[&other.name, "tpd-nosuch"]))
        .await
        .err()
        .unwrap();
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::NotFound, "CONTAINER_NOT_FOUND")
    );
    let both = StreamLogsRequest {
        container: other.name.clone(),
        ..marked.request(false)
    };
    let refused = Got::open(engine(), both).await.err().unwrap();
    assert_eq!(reason(&refused), "INVALID_FIELD");
    // Nothing is selected: a log without lines.
    let nothing = Got::all(engine(), Marked::new().request(false)).await;
    assert_eq!(nothing.lines, []);
}
