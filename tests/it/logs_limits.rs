//! What followed logs cost: nothing is left of them when they end, and callers that stop reading cost little.

use std::time::Duration;

use futures_util::StreamExt;
use turbopanel_agent::{
    engines::docker::{Engine, EngineAddress},
    proto::{StreamLogsRequest, stream_logs_response::Event},
    services::log::LogApi,
};

use crate::{
    docker_logfile_support::api_engine_at,
    docker_logs::{ended, of, open},
    docker_relay::{ENGINE, Relay},
    docker_support::{TestContainer, alone, docker, eventually},
    logs_support::{Got, Marked},
    private_engine::{IMAGE, PrivateEngine},
};

fn files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count)
}

/// The bytes of this process's memory that are in use.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn a_thousand_follows_leave_nothing_behind() {
    if alone("logs_limits::a_thousand_follows_leave_nothing_behind", &[]) {
        leave_nothing(Engine::new).await;
    }
}

#[tokio::test]
async fn a_thousand_follows_through_the_api_leave_nothing_behind() {
    let own = "logs_limits::a_thousand_follows_through_the_api_leave_nothing_behind";
    if alone(own, &[]) {
        leave_nothing(api_engine_at).await;
    }
}

async fn leave_nothing(at: fn(EngineAddress) -> Engine) {
    let private = PrivateEngine::start();
    let socket = private.socket();
    let pid = std::fs::read_to_string(socket.with_file_name("pid")).unwrap();
    let daemon: u32 = pid.trim().parse().unwrap();
    let names: Vec<String> = (0..3).map(|n| format!("leaves-{n}")).collect();
    for name in &names {
        let script = "while :; do echo x; sleep 0.1; done";
        private.docker(&[
            "run",
            "-d",
            "--net=none",
            "--name",
            name,
            "--label",
            "leaves=1",
            IMAGE,
            "sh",
            "-c",
            script,
        ]);
    }
    let engine = at(EngineAddress::Unix(socket));
    let api = LogApi::new(engine.clone());
    let many = StreamLogsRequest {
        selection: Some(turbopanel_agent::proto::LogSelection {
            labels: [("leaves".to_owned(), "1".to_owned())].into(),
            ..Default::default()
        }),
        follow: true,
        ..StreamLogsRequest::default()
    };
    let one = StreamLogsRequest {
        follow: true,
        ..of(&names[0])
    };
    // What is opened once and kept, whoever follows, is there before it is counted.
    for request in [&one, &many] {
        drop(open(&api, request.clone()).await.unwrap().next().await);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = (files(std::process::id()), files(daemon));
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    for round in 0..50 {
        let mut follows = Vec::new();
        for at in 0..20 {
            let request = if at % 4 == 0 { &many } else { &one };
            let mut events = open(&api, request.clone()).await.unwrap();
            // Some are cancelled before anything has come, and some after it.
            if (at + round) % 2 == 0 {
                events.next().await.unwrap().unwrap();
            }
            follows.push(events);
        }
    }
    eventually("no file is left open here", async || {
        files(std::process::id()) <= before.0
    })
    .await;
    eventually("none is in the engine", async || files(daemon) <= before.1).await;
    eventually("no task is left", async || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
            <= tasks
    })
    .await;
}

#[tokio::test]
async fn a_hundred_callers_that_stop_reading_cost_little_and_hold_up_nobody() {
    let own = "logs_limits::a_hundred_callers_that_stop_reading_cost_little_and_hold_up_nobody";
    if alone(own, &[]) {
        stop_reading(Engine::new).await;
    }
}

#[tokio::test]
async fn a_hundred_callers_through_the_api_that_stop_reading_cost_little() {
    let own = "logs_limits::a_hundred_callers_through_the_api_that_stop_reading_cost_little";
    if alone(own, &[]) {
        stop_reading(api_engine_at).await;
    }
}

async fn stop_reading(at: fn(EngineAddress) -> Engine) {
    let marked = Marked::new();
    let yes = "yes 'a line that is printed again and again, as fast as may be' | head -n 300000";
    let busy = [marked.run(&[], yes), marked.run(&[], yes)];
    for container in &busy {
        docker(None, &["wait", &container.name]);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let _relay = Relay::start(&path, ENGINE);
    let engine = at(EngineAddress::Unix(path));
    let api = LogApi::new(engine.clone());
    // What the first one costs for ever is not counted.
    drop(
        open(&api, marked.request(false))
            .await
            .unwrap()
            .next()
            .await,
    );
    let before = resident();
    let mut stalled = Vec::new();
    for at in 0..100 {
        let request = if at % 2 == 0 {
            marked.request(true)
        } else {
            of(&busy[0].name)
        };
        let mut events = open(&api, request).await.unwrap();
        assert!(matches!(
            events.next().await.unwrap().unwrap().event,
            Some(Event::Batch(_))
        ));
        stalled.push(events);
    }
    let each = resident().saturating_sub(before) / stalled.len();
    assert!(each < 1 << 20, "{each} bytes for each");
    let other = ended(&[], "seq 1000");
    let got = Got::all(engine, of(&other.name)).await;
    assert_eq!(got.lines.len(), 1000);
}

#[tokio::test]
async fn lines_come_while_a_clock_goes_back() {
    // The engine's files are what it reads: lines whose times go back are written there as a clock would have made them.
    let private = PrivateEngine::start();
    private.docker(&["create", "--name", "clock", "--net=none", IMAGE, "true"]);
    private.docker(&["create", "--name", "other", "--net=none", IMAGE, "true"]);
    let write = |name: &str, lines: &[(&str, &str)]| {
        let id = private.docker(&["inspect", "-f", "{{.Id}}", name]);
        let folder = private
            .socket()
            .with_file_name("data")
            .join("containers")
            .join(&id);
        let text: String = lines
            .iter()
            .map(|(text, time)| {
                format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:{time}Z\"}}\n")
            })
            .collect();
        std::fs::write(folder.join(format!("{id}-json.log")), text).unwrap();
    };
    // A log exists once the container has run.
    for name in ["clock", "other"] {
        private.docker(&["start", "-a", name]);
    }
    write(
        "clock",
        &[
            ("a", "10:00.1"),
            ("b", "10:00.2"),
            ("c", "05:00.1"),
            ("d", "05:00.1"),
            ("e", "11:00.1"),
        ],
    );
    write(
        "other",
        &[("1", "04:00.1"), ("2", "05:30.1"), ("3", "10:30.1")],
    );
    let engine = Engine::new(EngineAddress::Unix(private.socket()));
    let request = StreamLogsRequest {
        selection: Some(turbopanel_agent::proto::LogSelection {
            all: true,
            ..Default::default()
        }),
        ..StreamLogsRequest::default()
    };
    let got = Got::all(engine.clone(), request.clone()).await;
    // Within each container as stored; across them by time as far as that allows.
    assert_eq!(got.texts(), ["1", "2", "a", "b", "c", "d", "3", "e"]);
    let last = StreamLogsRequest {
        tail_lines: Some(4),
        ..request.clone()
    };
    assert_eq!(Got::all(engine.clone(), last).await.texts().len(), 4);
    let again = StreamLogsRequest {
        cursor: got.cursor,
        ..request
    };
    assert_eq!(Got::all(engine, again).await.texts(), [""; 0]);
}

#[tokio::test]
async fn a_rotation_between_two_calls_is_told() {
    let options = ["-i", "--log-opt", "max-size=10k", "--log-opt", "max-file=2"];
    let container = TestContainer::create(&options, &["sh", "-c", "while read n; do seq $n; done"]);
    let mut attached = std::process::Command::new("docker")
        .args(["start", "-ai", &container.name])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut input = attached.stdin.take().unwrap();
    let mut print = |lines: usize| {
        std::io::Write::write_all(&mut input, format!("{lines}\n").as_bytes()).unwrap()
    };
    eventually("it runs", async || {
        docker(
            None,
            &["inspect", "-f", "{{.State.Running}}", &container.name],
        ) == "true"
    })
    .await;
    for (selected, many) in [(false, 5000_usize), (true, 6000)] {
        // What was printed last is another number each time: the one of the first time may still be there.
        let last_line = many.to_string();
        print(10);
        let request = if selected {
            StreamLogsRequest {
                selection: Some(turbopanel_agent::proto::LogSelection {
                    containers: vec![container.name.clone()],
                    ..Default::default()
                }),
                follow: true,
                ..StreamLogsRequest::default()
            }
        } else {
            StreamLogsRequest {
                follow: true,
                ..of(&container.name)
            }
        };
        let engine = Engine::new(EngineAddress::default());
        let mut got = Got::open(engine.clone(), request.clone()).await.unwrap();
        got.until("ten lines", |got| got.has("10")).await;
        assert_eq!(got.gaps, []);
        let cursor = got.cursor.clone();
        drop(got);
        print(many);
        let last = StreamLogsRequest {
            follow: false,
            tail_lines: Some(1),
            ..of(&container.name)
        };
        eventually("all is printed", async || {
            Got::all(engine.clone(), last.clone()).await.has(&last_line)
        })
        .await;
        let mut again = Got::open(engine, StreamLogsRequest { cursor, ..request })
            .await
            .unwrap();
        again
            .until("the last line", |got| got.has(&last_line))
            .await;
        assert_eq!(again.gaps.len(), 1, "{:?}", again.gaps);
        assert!(again.gaps[0].after_unix_nano > 0);
        assert_eq!(
            again.gaps[0].before_unix_nano,
            again.lines[0].time_unix_nano
        );
    }
    drop(input);
    let _ = attached.wait();
}
