//! Engines that are replaced by one of another API version while the agent runs. There is one real engine
//! here, so a relay before it speaks for the others: it refuses what they would refuse, and names their version.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use turbopanel_agent::engines::docker::{
    Engine, EngineAddress, Error,
    containers::Change,
    logs::{LogEnd, LogRequest},
};

use crate::{
    docker_logfile_support::api_engine_at,
    docker_relay::{ENGINE, Relay, Treatment},
    docker_support::TestContainer,
};

fn minor(line: &str) -> Option<u32> {
    let version = line.split_once("/v1.")?.1;
    version.split('/').next()?.parse().ok()
}

/// What an engine whose newest version is this one says to a newer one.
fn too_new(newest: u32) -> Treatment {
    let message = format!(
        "{{\"message\":\"client version is too new. Maximum supported API version is 1.{newest}\"}}"
    );
    Treatment::Answer(format!(
        "HTTP/1.1 400 Bad Request\r\nApi-Version: 1.{newest}\r\nServer: Docker/1.{newest} (linux)\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{message}",
        message.len()
    ))
}

/// An engine whose newest version can be changed.
fn changing(path: &Path, newest: &Arc<AtomicU32>) -> (Relay, Engine) {
    let newest = Arc::clone(newest);
    let relay = Relay::with(path, ENGINE, move |line| {
        let newest = newest.load(Ordering::SeqCst);
        match minor(line) {
            Some(asked) if asked > newest => too_new(newest),
            _ => Treatment::Version(format!("1.{newest}")),
        }
    });
    (relay, api_engine_at(EngineAddress::Unix(path.to_owned())))
}

/// The versions in which requests were sent since the last look.
fn spoken(relay: &Relay, seen: &mut usize) -> Vec<u32> {
    let lines = relay.lines();
    let new = lines.iter().skip(*seen).filter_map(|line| minor(line));
    let new = new.collect();
    *seen = lines.len();
    new
}

#[tokio::test]
async fn a_request_that_another_engine_refused_is_sent_again_in_its_version() {
    let directory = tempfile::tempdir().unwrap();
    let newest = Arc::new(AtomicU32::new(41));
    let (relay, engine) = changing(&directory.path().join("s"), &newest);
    let container = TestContainer::create(&[], &["echo", "hello"]);
    let name = container.named();
    let mut seen = 0;
    engine.container(&name).await.unwrap();
    assert_eq!(spoken(&relay, &mut seen), [41]);

    // A call through bollard.
    newest.store(30, Ordering::SeqCst);
    engine.container(&name).await.unwrap();
    assert_eq!(spoken(&relay, &mut seen), [41, 30]);
    assert_eq!(engine.status().await.api_version, "1.30");

    // A call of the agent's own.
    newest.store(28, Ordering::SeqCst);
    assert_eq!(engine.start(&name).await.unwrap(), Change::Done);
    assert_eq!(spoken(&relay, &mut seen), [30, 28]);

    // A newer one refuses nothing, and is spoken to in its own version from then on.
    newest.store(40, Ordering::SeqCst);
    engine.container(&name).await.unwrap();
    engine.container(&name).await.unwrap();
    assert_eq!(spoken(&relay, &mut seen), [28, 40]);

    // A log is two requests, and the second one knows what the first one learnt.
    let request = LogRequest {
        container: name,
        follow: false,
        tail: None,
        since: None,
        until: None,
        stdout: true,
        stderr: true,
    };
    newest.store(29, Ordering::SeqCst);
    crate::docker_support::docker(None, &["wait", &container.name]);
    let mut logs = engine.logs(request).await.unwrap();
    let mut lines = Vec::new();
    assert_eq!(logs.next(&mut lines).await.unwrap(), None);
    let end = logs.next(&mut Vec::new()).await.unwrap();
    assert_eq!(end, Some(LogEnd::Complete));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].content, "hello");
    assert_eq!(spoken(&relay, &mut seen), [40, 29, 29]);
}

/// An engine that is another one at each answer is not asked for ever.
#[tokio::test]
async fn an_engine_that_changes_all_the_time_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let answers = AtomicU32::new(0);
    let relay = Relay::with(&path, ENGINE, move |_| {
        too_new(30 + answers.fetch_add(1, Ordering::SeqCst) % 2)
    });
    let engine = Engine::new(EngineAddress::Unix(path));
    let name = "tpd-any".parse().unwrap();
    let outcomes = [
        engine.container(&name).await.map(drop),
        engine.start(&name).await.map(drop),
    ];
    for outcome in outcomes {
        assert!(
            matches!(&outcome, Err(Error::Rejected { message }) if message.contains("too new")),
            "{outcome:?}"
        );
    }
    assert!(relay.lines().len() <= 8, "{:?}", relay.lines());
}
