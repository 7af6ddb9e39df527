//! A time-out is not a failure: what an engine did without saying so is looked at, and what it was
//! never asked for is not called unknown.

use std::time::Duration;

use turbopanel_agent::engines::docker::{
    Deadlines, Engine, EngineAddress, Error, Signal,
    containers::Change,
    create::{Network, NewContainer},
};

use crate::{
    docker_relay::{ENGINE, Relay, Treatment},
    docker_support::{IMAGE, TestContainer, docker, unique},
};

/// Shorter than usual, and long enough for a busy engine to do what it does not tell of.
fn deadlines() -> Deadlines {
    Deadlines {
        call: Duration::from_secs(4),
        stop_margin: Duration::from_secs(4),
        ..Deadlines::default()
    }
}

/// An engine behind a relay with this rule.
struct Behind {
    engine: Engine,
    relay: Relay,
    _directory: tempfile::TempDir,
}

impl std::ops::Deref for Behind {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

fn behind(rule: impl Fn(&str) -> Treatment + Send + Sync + 'static) -> Behind {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    Behind {
        relay: Relay::with(&path, ENGINE, rule),
        engine: Engine::with_deadlines(EngineAddress::Unix(path), deadlines()),
        _directory: directory,
    }
}

/// Keeps the answers of requests whose line has this text.
fn withholding(what: &'static str) -> Behind {
    behind(move |line| {
        if line.contains(what) {
            Treatment::Withhold
        } else {
            Treatment::Pass
        }
    })
}

fn new(name: &str) -> NewContainer {
    NewContainer {
        name: Some(name.parse().unwrap()),
        command: vec!["sleep".into(), "1000".into()],
        network: Some(Network::Named("none".parse().unwrap())),
        ..NewContainer::of(IMAGE.parse().unwrap())
    }
}

#[track_caller]
fn assert_unknown<T: std::fmt::Debug>(outcome: Result<T, Error>, expected: &str) {
    match outcome {
        Err(Error::OutcomeUnknown { observed, .. }) => assert_eq!(observed, expected),
        other => panic!("{other:?}"),
    }
}

/// An engine that takes connections and never says which version it speaks has not been asked for
/// anything: no change is unknown.
#[tokio::test]
async fn what_was_never_sent_is_not_unknown() {
    let silent = behind(|_| Treatment::Ignore);
    let mut deadlines = deadlines();
    deadlines.probe = Duration::from_millis(300);
    let engine = Engine::with_deadlines(silent.address().clone(), deadlines);
    let name = unique("never").parse().unwrap();
    let grace = Some(Duration::ZERO);
    let outcomes = [
        ("start", engine.start(&name).await.map(drop)),
        ("stop", engine.stop(&name, grace).await.map(drop)),
        ("restart", engine.restart(&name, grace).await),
        ("kill", engine.kill(&name, Signal::KILL).await),
        ("remove", engine.remove(&name, true, true).await),
        ("create", engine.create(new(name.as_str())).await.map(drop)),
    ];
    for (what, outcome) in outcomes {
        assert!(
            matches!(outcome, Err(Error::Unreachable { .. })),
            "{what}: {outcome:?}"
        );
    }
    for line in silent.relay.lines() {
        assert_eq!(line, "GET /_ping HTTP/1.1");
    }
}

#[tokio::test]
async fn what_was_seen_to_happen_is_done() {
    let sleep = &["sleep", "1000"];
    let created = TestContainer::create(&[], sleep);
    let [restarted, stopped, killed, removed] = [0; 4].map(|_| TestContainer::run(&[], sleep));
    // One that is removed when it ends is gone when the stop has worked.
    let fleeting = TestContainer::run(&["--rm"], sleep);
    let pid = || docker(None, &["inspect", "-f", "{{.State.Pid}}", &restarted.name]);
    let first = pid();
    let none = Some(Duration::ZERO);
    let start = async {
        let done = withholding("/start").start(&created.named()).await;
        assert_eq!(done.unwrap(), Change::Done);
    };
    let restart = async {
        let (engine, name) = (withholding("/restart"), restarted.named());
        engine.restart(&name, none).await.unwrap();
    };
    let stop = async {
        for container in [&stopped, &fleeting] {
            let done = withholding("/stop").stop(&container.named(), none).await;
            assert_eq!(done.unwrap(), Change::Done);
        }
    };
    let kill = async {
        let (engine, name) = (withholding("/kill"), killed.named());
        engine.kill(&name, Signal::KILL).await.unwrap();
    };
    let remove = async {
        let (engine, name) = (withholding("DELETE"), removed.named());
        engine.remove(&name, true, true).await.unwrap();
    };
    tokio::join!(start, restart, stop, kill, remove);
    assert_ne!(pid(), first);
}

#[tokio::test]
async fn what_was_not_seen_to_happen_is_unknown() {
    let container = TestContainer::run(&[], &["sleep", "1000"]);
    let created = TestContainer::create(&[], &["true"]);
    let new_name = created.named();
    let made = TestContainer {
        name: unique("made"),
    };
    let (name, never) = (container.named(), unique("never"));
    let none = Some(Duration::ZERO);
    // Changes are never passed on, so that nothing happens.
    let ignoring = behind(|line| {
        if line.starts_with("GET") {
            Treatment::Pass
        } else {
            Treatment::Ignore
        }
    });
    let (start, stop, restart, kill, remove, create) = tokio::join!(
        ignoring.start(&new_name),
        ignoring.stop(&name, none),
        ignoring.restart(&name, none),
        ignoring.kill(&name, Signal::KILL),
        ignoring.remove(&name, true, true),
        ignoring.create(new(&never)),
    );
    assert_unknown(start, "created");
    assert_unknown(stop, "running");
    assert_unknown(restart, "running");
    assert_unknown(kill, "running");
    assert_unknown(remove, "running");
    assert_unknown(create, "absent");

    // These happen. But whether a signal arrived cannot be seen, nor whose container it is that is there.
    let (signalling, creating) = (withholding("/kill"), withholding("/create"));
    let (signalled, create) = tokio::join!(
        signalling.kill(&name, "WINCH".parse().unwrap()),
        creating.create(new(&made.name)),
    );
    assert_unknown(signalled, "running");
    assert_unknown(create, "created");
}
