//! What happens to containers, their lines and their times while they are followed, from the engine's files and by its API.

use std::{fs::OpenOptions, io::Write};

use turbopanel_agent::{
    engines::docker::Engine,
    proto::{LogSelection, StreamLogsRequest, log_end, log_source_end},
};

use crate::{
    docker_logfile_support::{api_engine, log_path},
    docker_logs::of,
    docker_support::{TestContainer, docker, engine, eventually},
    logs_support::Got,
};

/// From the files, and by the API.
fn paths() -> [(&'static str, Engine); 2] {
    [("files", engine()), ("API", api_engine())]
}

/// The log of a container as its own, and as one of a selection.
fn both_ways(container: &TestContainer) -> [StreamLogsRequest; 2] {
    let one = StreamLogsRequest {
        follow: true,
        ..of(&container.name)
    };
    let selection = LogSelection {
        containers: vec![container.name.clone()],
        ..LogSelection::default()
    };
    let many = StreamLogsRequest {
        container: String::new(),
        selection: Some(selection),
        ..one.clone()
    };
    [one, many]
}

/// Prints so many numbered lines whenever it is told to.
fn printer(options: &[&str], lines: usize) -> TestContainer {
    let script = format!(
        "n=0; while :; do until rm /go 2>/dev/null; do sleep 0.05; done; seq $n $((n + {lines} - 1)); n=$((n + {lines})); done"
    );
    TestContainer::run(options, &["sh", "-c", &script])
}

fn go(container: &TestContainer) {
    docker(None, &["exec", &container.name, "touch", "/go"]);
}

#[tokio::test]
async fn logs_a_gap_is_told_where_the_lines_are_missing() {
    const LINES: usize = 40_000;
    let options = ["--log-opt", "max-size=100k", "--log-opt", "max-file=3"];
    let container = printer(&options, LINES);
    // Another one that is followed, for which lines wait.
    let other = TestContainer::run(&[], &["sleep", "600"]);
    let [_, mut request] = both_ways(&container);
    let names = &mut request.selection.as_mut().unwrap().containers;
    names.push(other.name.clone());
    for round in 1..=3 {
        // Each time from what is stored on, and further.
        let mut got = Got::open(engine(), request.clone()).await.unwrap();
        if round > 1 {
            got.until("what is stored", |got| {
                got.has(&((round - 1) * LINES - 1).to_string())
            })
            .await;
        }
        go(&container);
        let lines = got.lines.len();
        got.until("the first lines", |got| got.lines.len() > lines)
            .await;
        // Nobody reads, while the engine goes through its files many times.
        let last = (round * LINES - 1).to_string();
        eventually("all is printed", async || {
            docker(None, &["logs", "--tail", "1", &container.name]) == last
        })
        .await;
        got.until("the last line", |got| got.has(&last)).await;
        let numbers: Vec<usize> = got
            .texts()
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let back = numbers.windows(2).filter(|pair| pair[0] >= pair[1]);
        let back: Vec<_> = back.collect();
        assert!(
            back.is_empty(),
            "round {round}: {back:?} {:?}",
            got.gaps_before
        );
        let jumps = (1..numbers.len()).filter(|at| numbers[*at] != numbers[at - 1] + 1);
        let jumps: Vec<usize> = jumps.collect();
        assert!(!jumps.is_empty(), "round {round}");
        // Each stands where it was told, with the times around it.
        assert!(
            jumps.iter().all(|at| got.gaps_before.contains(at)),
            "round {round}: {jumps:?} {:?}",
            got.gaps_before
        );
        for (gap, at) in got.gaps.iter().zip(&got.gaps_before) {
            assert_eq!(
                (gap.after_unix_nano, gap.before_unix_nano),
                (
                    got.lines[at - 1].time_unix_nano,
                    got.lines[*at].time_unix_nano
                ),
                "round {round}: {at}"
            );
        }
    }
}

#[tokio::test]
async fn logs_a_container_that_is_removed_ends_its_follow() {
    for (path, engine) in paths() {
        for which in 0..2 {
            let container = TestContainer::run(&[], &["sh", "-c", "echo one; sleep 600"]);
            let request = both_ways(&container)[which].clone();
            let mut got = Got::open(engine.clone(), request).await.unwrap();
            got.until("its line", |got| got.has("one")).await;
            docker(None, &["rm", "-f", &container.name]);
            if which == 0 {
                while got.next().await.unwrap() {}
                assert_eq!(got.end, Some(log_end::Reason::ContainerEnded), "{path}");
            } else {
                let removed = log_source_end::Reason::ContainerRemoved;
                let removed = (container.name.clone(), removed);
                got.until("its removal", |got| got.ends.contains(&removed))
                    .await;
                assert_eq!(got.end, None, "{path}: its name may come again");
            }
            assert_eq!(got.texts(), ["one"], "{path}");
        }
    }
}

#[tokio::test]
async fn logs_a_container_that_is_renamed_is_followed_on() {
    for (path, engine) in paths() {
        for which in 0..2 {
            let mut container = printer(&[], 5);
            let request = both_ways(&container)[which].clone();
            let mut got = Got::open(engine.clone(), request.clone()).await.unwrap();
            go(&container);
            got.until("its first lines", |got| got.has("4")).await;
            let name = format!("{}-renamed", container.name);
            docker(None, &["rename", &container.name, &name]);
            container.name = name;
            go(&container);
            got.until("lines under the new name", |got| got.has("9"))
                .await;
            // A caller that was away knows the old name alone, and where it was.
            let again = StreamLogsRequest {
                cursor: got.cursor.clone(),
                ..request.clone()
            };
            drop(got);
            go(&container);
            let mut again = Got::open(engine.clone(), again).await.unwrap();
            again.until("what follows", |got| got.has("14")).await;
            let expected: Vec<_> = (10..15).map(|n| n.to_string()).collect();
            assert_eq!(again.texts(), expected, "{path} {which}");
            assert_eq!(again.gaps, [], "{path} {which}");
            // Without a place there is no such container; and one that was removed is none either.
            let refused = Got::open(engine.clone(), request.clone()).await.err();
            assert_eq!(refused.unwrap().code(), tonic::Code::NotFound, "{path}");
            let gone = StreamLogsRequest {
                cursor: again.cursor.clone(),
                ..request
            };
            drop(again);
            docker(None, &["rm", "-f", &container.name]);
            if which == 0 {
                let refused = Got::open(engine.clone(), gone).await.err().unwrap();
                assert_eq!(refused.code(), tonic::Code::NotFound, "{path}");
                // As the caller knows it.
                let old = container.name.trim_end_matches("-renamed");
                assert!(refused.message().contains(old), "{refused:?}");
            }
        }
    }
}

#[tokio::test]
async fn logs_a_line_of_ten_megabytes_is_followed() {
    let script = "until [ -e /go ]; do sleep 0.05; done; head -c 10000000 /dev/zero | tr '\\0' a; echo; echo after; sleep 600";
    for (path, engine) in paths() {
        let container = TestContainer::run(&[], &["sh", "-c", script]);
        let mut follows = Vec::new();
        for request in both_ways(&container) {
            follows.push(Got::open(engine.clone(), request).await.unwrap());
        }
        go(&container);
        for mut got in follows {
            while !got.has("after") {
                assert!(got.next().await.unwrap());
            }
            let (after, long) = got.lines.split_last().unwrap();
            assert!(!after.partial && after.content == "after", "{path}");
            let (end, parts) = long.split_last().unwrap();
            assert!(!end.partial && parts.iter().all(|part| part.partial));
            assert!(long.iter().all(|part| part.content.len() <= 16 << 10));
            let length: usize = long.iter().map(|part| part.content.len()).sum();
            assert_eq!(length, 10_000_000, "{path}");
        }
    }
}

#[tokio::test]
async fn logs_times_that_go_back_hide_nothing_of_a_follow() {
    // By steps of a second, a minute and a year, into the future and back.
    const TIMES: [&str; 12] = [
        "2027-01-01T00:00:10",
        "2027-01-01T00:00:09",
        "2027-01-01T00:00:09",
        "2027-01-01T00:01:00",
        "2027-01-01T00:00:00",
        "2027-01-01T00:00:30",
        "2028-01-01T00:00:00",
        "2027-01-01T00:00:31",
        "2027-01-01T00:00:31",
        "2026-12-31T00:00:00",
        "2027-01-01T00:00:32",
        "2028-01-01T00:00:00",
    ];
    for (path, engine) in paths() {
        for which in 0..2 {
            let container = TestContainer::run(&[], &["sh", "-c", "echo begin; sleep 600"]);
            let request = both_ways(&container)[which].clone();
            let mut got = Got::open(engine.clone(), request).await.unwrap();
            got.until("the first line", |got| got.has("begin")).await;
            let mut log = OpenOptions::new()
                .append(true)
                .open(log_path(&container))
                .unwrap();
            for (n, time) in TIMES.iter().enumerate() {
                writeln!(
                    log,
                    r#"{{"log":"line {n}\n","stream":"stdout","time":"{time}.000000001Z"}}"#
                )
                .unwrap();
                let line = format!("line {n}");
                got.until(&line, |got| got.has(&line)).await;
            }
            let texts = got.texts();
            let expected = (0..TIMES.len()).map(|n| format!("line {n}"));
            assert!(
                texts[1..].iter().eq(&expected.collect::<Vec<_>>()),
                "{path} {which}: {texts:?}"
            );
        }
    }
}
