//! The engine's events: exactly once over cuts, told when something may be lost.

use std::{path::Path, pin::Pin};

use futures_util::{Stream, StreamExt};
use tonic::{Code, Request, Status};
use turbopanel_agent::{
    engines::docker::{Engine, EngineAddress},
    proto::{
        EngineEvent, ErrorReason, StreamEventsRequest, StreamEventsResponse,
        engine_service_server::EngineService, stream_events_response::Step,
    },
    services::engine::EngineApi,
};

use crate::{
    docker_away::{assert_unreachable, short},
    docker_containers::assert_refused,
    docker_relay::Relay,
    docker_support::{IMAGE, PrivateEngine, engine, eventually, unique},
    volume_life::TestVolume,
};

type Answers = Pin<Box<dyn Stream<Item = Result<StreamEventsResponse, Status>> + Send>>;

async fn open(engine: &Engine, request: StreamEventsRequest) -> Result<Answers, Status> {
    let api = EngineApi::new(engine.clone());
    let answers = api.stream_events(Request::new(request)).await?;
    Ok(answers.into_inner())
}

fn volumes() -> StreamEventsRequest {
    StreamEventsRequest {
        types: vec!["volume".into()],
        actions: vec!["create".into()],
        ..StreamEventsRequest::default()
    }
}

async fn next(answers: &mut Answers) -> Step {
    let next = tokio::time::timeout(std::time::Duration::from_secs(30), answers.next());
    let answer = next.await.expect("nothing comes").expect("it ended");
    answer.unwrap().step.unwrap()
}

async fn event(answers: &mut Answers) -> EngineEvent {
    match next(answers).await {
        Step::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn events_come_as_they_happen_and_a_cursor_goes_on_after_one() {
    let [first, second, third] = [0; 3].map(|_| TestVolume(unique("event")));
    let names = [&first, &second, &third].map(|volume| volume.0.clone());
    let only = || StreamEventsRequest {
        volumes: names.to_vec(),
        ..StreamEventsRequest::default()
    };
    let engine = engine();
    let mut answers = open(&engine, only()).await.unwrap();
    let create = async |name: &str| {
        let new = turbopanel_agent::engines::docker::volumes::NewVolume {
            name: Some(name.parse().unwrap()),
            driver: None,
            options: Default::default(),
            labels: Default::default(),
        };
        engine.create_volume(&new).await.unwrap();
    };
    create(&names[0]).await;
    let seen = event(&mut answers).await;
    assert_eq!(
        (seen.r#type.as_str(), seen.action.as_str(), seen.id.as_str()),
        ("volume", "create", names[0].as_str())
    );
    assert_eq!(seen.attributes["driver"], "local");
    assert!(seen.time_unix_nano > 1_700_000_000_000_000_000);
    create(&names[1]).await;
    assert_eq!(event(&mut answers).await.id, names[1]);

    // From after the first: the second, once, and then what comes.
    let after = StreamEventsRequest {
        cursor: seen.cursor.clone(),
        ..only()
    };
    let mut again = open(&engine, after).await.unwrap();
    let Step::Resumed(resumed) = next(&mut again).await else {
        panic!("it does not say so")
    };
    assert!(!resumed.gap);
    assert_eq!(event(&mut again).await.id, names[1]);
    create(&names[2]).await;
    assert_eq!(event(&mut again).await.id, names[2]);
    assert_eq!(event(&mut answers).await.id, names[2]);

    // Until a time it ends by itself.
    let time = |nanos: i64| prost_types::Timestamp {
        seconds: nanos / 1_000_000_000,
        nanos: (nanos % 1_000_000_000) as i32,
    };
    let past = StreamEventsRequest {
        since: Some(time(seen.time_unix_nano)),
        until: Some(time(seen.time_unix_nano)),
        ..only()
    };
    let mut past = open(&engine, past).await.unwrap();
    assert_eq!(event(&mut past).await, seen);
    assert!(past.next().await.is_none());

    for wrong in [
        StreamEventsRequest {
            cursor: "x".into(),
            ..only()
        },
        StreamEventsRequest {
            types: vec![String::new()],
            ..only()
        },
        StreamEventsRequest {
            containers: vec!["a\nb".into()],
            ..only()
        },
        StreamEventsRequest {
            volumes: vec!["v".into(); 201],
            ..only()
        },
    ] {
        let refused = open(&engine, wrong).await.err().unwrap();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    let nobody = Engine::with_deadlines(EngineAddress::Unix("/nonexistent".into()), short());
    assert_unreachable(&open(&nobody, only()).await.err().unwrap());
}

/// A relay before the engine that is cut again and again.
struct Cuts<'a> {
    path: &'a Path,
    engine: &'static str,
    relay: Option<Relay>,
}

impl Cuts<'_> {
    fn up(&mut self) {
        self.relay = Some(Relay::start(self.path, self.engine));
    }

    /// Ends every connection, and takes no further one.
    fn down(&mut self) {
        self.relay = None;
        std::fs::remove_file(self.path).unwrap();
    }
}

async fn started() -> PrivateEngine {
    tokio::task::spawn_blocking(PrivateEngine::start)
        .await
        .unwrap()
}

/// Whether the engine's own process holds no stream of events.
async fn listeners(private: &PrivateEngine) -> String {
    private.docker(&["info", "--format", "{{.NEventsListener}}"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_cuts_each_event_comes_once_and_a_restart_is_told() {
    let mut private = started().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let socket: &'static str = private.socket().to_str().unwrap().to_owned().leak();
    let mut cuts = Cuts {
        path: &path,
        engine: socket,
        relay: None,
    };
    cuts.up();
    let engine = Engine::with_deadlines(EngineAddress::Unix(path.clone()), short());
    let mut answers = open(&engine, volumes()).await.unwrap();
    private.docker(&["volume", "create", "v-first"]);
    assert_eq!(event(&mut answers).await.id, "v-first");

    // While it is cut, things happen.
    for round in 0..10 {
        cuts.down();
        let Step::Interrupted(interrupted) = next(&mut answers).await else {
            panic!("it does not say so")
        };
        assert!(interrupted.cause.contains("relay.sock"), "{interrupted:?}");
        let names = [0, 1, 2].map(|n| format!("v-{round}-{n}"));
        for name in &names {
            private.docker(&["volume", "create", name]);
        }
        cuts.up();
        let Step::Resumed(resumed) = next(&mut answers).await else {
            panic!("it does not say so")
        };
        assert!(!resumed.gap, "in round {round}");
        for name in names {
            assert_eq!(event(&mut answers).await.id, name);
        }
    }

    // The engine forgets everything when it restarts.
    let private = tokio::task::spawn_blocking(move || {
        private.kill();
        private.up();
        private
    });
    assert!(matches!(next(&mut answers).await, Step::Interrupted(_)));
    let private = private.await.unwrap();
    let Step::Resumed(resumed) = next(&mut answers).await else {
        panic!("it does not say so")
    };
    assert!(resumed.gap);
    private.docker(&["volume", "create", "v-after"]);
    assert_eq!(event(&mut answers).await.id, "v-after");

    // It hangs: that is found out, and told.
    private.hang();
    assert!(matches!(next(&mut answers).await, Step::Interrupted(_)));
    assert!(!engine.status().await.reachable);
    private.go_on();
    let Step::Resumed(resumed) = next(&mut answers).await else {
        panic!("it does not say so")
    };
    assert!(!resumed.gap);
    private.docker(&["volume", "create", "v-last"]);
    assert_eq!(event(&mut answers).await.id, "v-last");

    // Nobody listens any more.
    drop(answers);
    eventually("the engine is left alone", async || {
        listeners(&private).await == "0"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_holds_little_and_is_told_what_is_lost() {
    let private = started().await;
    let engine = Engine::with_deadlines(private.address(), short());
    let containers = StreamEventsRequest {
        types: vec!["container".into(), "volume".into()],
        actions: vec!["create".into()],
        ..StreamEventsRequest::default()
    };
    let mut answers = open(&engine, containers).await.unwrap();
    // More than waits in the agent, and less than the engine remembers.
    let long = "x".repeat(100 << 10);
    let make = |number: usize| {
        let label = format!("long={long}");
        private.docker(&[
            "create",
            "--name",
            &format!("c-{number}"),
            "--label",
            &label,
            IMAGE,
            "true",
        ]);
    };
    (0..30).for_each(&make);
    eventually("the reader is behind", async || {
        listeners(&private).await == "0"
    })
    .await;
    for number in 0..30 {
        let seen = event(&mut answers).await;
        assert_eq!(seen.attributes["name"], format!("c-{number}"));
        assert_eq!(seen.attributes["long"].len(), long.len());
    }
    // More than the engine remembers.
    (30..60).for_each(&make);
    eventually("the reader is behind", async || {
        listeners(&private).await == "0"
    })
    .await;
    let forget = "for n in $(seq 270); do docker -H \"$0\" volume create v-$n > /dev/null; done";
    let socket = format!("unix://{}", private.socket().display());
    let made = std::process::Command::new("sh")
        .args(["-c", forget, &socket])
        .status();
    assert!(made.unwrap().success());
    let mut seen = Vec::new();
    let gap_at = loop {
        match next(&mut answers).await {
            Step::Event(event) => seen.push(event),
            Step::Resumed(resumed) => {
                assert!(resumed.gap);
                break seen.len();
            }
            Step::Interrupted(interrupted) => panic!("{interrupted:?}"),
        }
    };
    assert!((5..30).contains(&gap_at), "{gap_at}");
    // The last 256 are there.
    loop {
        let seen = event(&mut answers).await;
        if seen.id == "v-270" {
            break;
        }
    }
}
