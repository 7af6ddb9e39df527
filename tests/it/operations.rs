//! Operations: they outlive their callers and the agent, and nothing runs twice.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::{sync::Notify, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Status};
use turbopanel_agent::{
    operations::{Begin, Operations, Watch},
    proto::{
        ErrorReason, Operation, OperationResult, OperationState, OutputStream,
        operation_event::Event,
    },
};

fn open(dir: &Path) -> (Operations, CancellationToken) {
    let stop = CancellationToken::new();
    let operations = Operations::open(Some(dir.to_owned()), TaskTracker::new(), stop.clone());
    (operations, stop)
}

/// As an agent ends: its tasks are over, and its directory is free.
async fn close(operations: Operations) {
    operations.idle().await;
    // The last task still holds it for a moment.
    tokio::task::yield_now().await;
    drop(operations);
}

fn begin(request_id: &str) -> Begin {
    Begin {
        kind: "test.work",
        target: "something".to_owned(),
        request_id: request_id.to_owned(),
        asked: b"this".to_vec(),
    }
}

/// All that is left of its events.
async fn all(mut watch: Watch) -> Vec<(u64, Event)> {
    let mut events = Vec::new();
    let reading = async {
        while let Some(event) = watch.next().await {
            events.push((event.position, event.event.unwrap()));
        }
    };
    timeout(Duration::from_secs(30), reading).await.unwrap();
    events
}

/// How it ended.
async fn outcome(watch: Watch) -> Operation {
    match all(watch).await.pop() {
        Some((_, Event::Operation(operation))) => operation,
        other => panic!("the last event is {other:?}"),
    }
}

fn printed(events: &[(u64, Event)]) -> Vec<u8> {
    let outputs = events.iter().filter_map(|(_, event)| match event {
        Event::Output(output) => Some(output.content.to_vec()),
        _ => None,
    });
    outputs.flatten().collect()
}

#[tokio::test]
async fn c5_operations_are_followed_from_any_position_by_anyone() {
    let dir = TempDir::new().unwrap();
    let (operations, _) = open(dir.path());
    let go = Arc::new(Notify::new());
    let went = Arc::clone(&go);
    let begun = operations.begin(begin(""), |reporter| async move {
        reporter.progress("layer", "Downloading", 1, 9);
        reporter.output(OutputStream::Stdout, Bytes::from_static(b"one "));
        reporter.progress("layer", "Downloading", 9, 9);
        went.notified().await;
        reporter.output(OutputStream::Stderr, Bytes::from_static(b"two"));
        Ok(OperationResult {
            digest: "sha256:1".to_owned(),
            ..OperationResult::default()
        })
    });
    // The caller who began it goes.
    drop(begun.unwrap());
    let id = operations.list()[0].id.clone();
    assert_eq!(
        operations.get(&id).unwrap().state(),
        OperationState::Running
    );
    let (first, second) = (operations.watch(&id, 0), operations.watch(&id, 0));
    go.notify_one();
    let (first, second) = tokio::join!(all(first.unwrap()), all(second.unwrap()));
    assert_eq!(first, second);
    assert_eq!(printed(&first), b"one two");
    let progress = |(_, event): &(u64, Event)| matches!(event, Event::Progress(_));
    // Later progress stands for the earlier one.
    assert_eq!(first.iter().filter(|event| progress(event)).count(), 1);
    let positions: Vec<u64> = first.iter().map(|(position, _)| *position).collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
    let ended = outcome(operations.watch(&id, 0).unwrap()).await;
    assert_eq!(ended.state(), OperationState::Succeeded);
    assert_eq!(ended.result.unwrap().digest, "sha256:1");
    // From a position on there is what came after it, and nothing before.
    for (index, position) in positions.iter().enumerate() {
        let rest = all(operations.watch(&id, *position).unwrap()).await;
        assert_eq!(rest, first[index + 1..]);
    }
    let unknown = operations.watch("nobody", 0).unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn c5_a_request_id_runs_once_over_restarts() {
    let dir = TempDir::new().unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let count = |operations: &Operations, request: Begin| {
        let ran = Arc::clone(&ran);
        operations.begin(request, |reporter| async move {
            ran.fetch_add(1, Ordering::SeqCst);
            reporter.output(OutputStream::Stdout, Bytes::from_static(b"done"));
            Ok(OperationResult::default())
        })
    };
    let (operations, _) = open(dir.path());
    let first = outcome(count(&operations, begin("deploy-1")).unwrap()).await;
    let again = outcome(count(&operations, begin("deploy-1")).unwrap()).await;
    assert_eq!(first, again);
    let mut other = begin("deploy-1");
    other.asked = b"that".to_vec();
    let refused = count(&operations, other).unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    // Ones that never end, as the agent is killed: with its runtime goes the work.
    let begun = Arc::new(Notify::new());
    let began = Arc::clone(&begun);
    let killed = {
        let dir = dir.path().join("killed");
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            let (operations, _) = open(&dir);
            let watch = runtime.block_on(async {
                let work = |_| async move {
                    began.notify_one();
                    std::future::pending::<Result<OperationResult, Status>>().await
                };
                let watch = operations.begin(begin("deploy-2"), work).unwrap();
                begun.notified().await;
                watch
            });
            drop(runtime);
            drop(watch);
        })
    };
    killed.join().unwrap();
    close(operations).await;

    let (operations, _) = open(dir.path());
    let kept = operations.list();
    assert_eq!(kept, std::slice::from_ref(&first));
    let again = count(&operations, begin("deploy-1")).unwrap();
    let events = all(again).await;
    assert_eq!(printed(&events), b"done");
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    let (operations, _) = open(&dir.path().join("killed"));
    let unknown = outcome(count(&operations, begin("deploy-2")).unwrap()).await;
    assert_eq!(unknown.state(), OperationState::Unknown);
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert_eq!(unknown.error.unwrap().reason(), ErrorReason::OutcomeUnknown);
}

#[tokio::test]
async fn operations_are_cancelled_by_a_call_of_its_own() {
    let dir = TempDir::new().unwrap();
    let (operations, stop) = open(dir.path());
    let never = || std::future::pending::<Result<OperationResult, Status>>();
    let dropped = operations.begin(begin("a"), |_| never()).unwrap();
    let tidies = operations.begin(begin("b"), |reporter| {
        let cancelled = reporter.cancelled();
        async move {
            cancelled.cancelled().await;
            tokio::task::yield_now().await;
            reporter.output(OutputStream::Stdout, Bytes::from_static(b"tidied up"));
            Err(Status::cancelled("cancelled"))
        }
    });
    let running = operations.list();
    for operation in &running {
        assert!(!operations.cancel(&operation.id).unwrap());
    }
    assert_eq!(outcome(dropped).await.state(), OperationState::Cancelled);
    let events = all(tidies.unwrap()).await;
    assert_eq!(printed(&events), b"tidied up");
    for operation in running {
        let ended = operations.get(&operation.id).unwrap();
        assert_eq!(ended.state(), OperationState::Cancelled);
        assert!(operations.cancel(&operation.id).unwrap());
    }
    // The agent's stop is not a cancellation: what was done is not known.
    let cut = operations.begin(begin("c"), |_| never()).unwrap();
    stop.cancel();
    let cut = outcome(cut).await;
    assert_eq!(cut.state(), OperationState::Unknown);
    assert_eq!(cut.error.unwrap().reason(), ErrorReason::AgentStopping);
    timeout(Duration::from_secs(30), operations.idle())
        .await
        .unwrap();
}

#[tokio::test]
async fn c11_what_cannot_be_recorded_fails_only_where_it_must_be() {
    let dir = TempDir::new().unwrap();
    // Root may write anywhere, but not below a file.
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let (operations, _) = open(&file);
    let work = |_| async { Ok(OperationResult::default()) };
    let unrecorded = outcome(operations.begin(begin(""), work).unwrap()).await;
    assert_eq!(unrecorded.state(), OperationState::Succeeded);
    let refused = outcome(operations.begin(begin("once"), work).unwrap()).await;
    let error = refused.error.unwrap();
    assert_eq!(error.reason(), ErrorReason::StateNotWritable);
    assert!(error.message.contains("AGENT_STATE_DIR"), "{error:?}");
    // Nothing was done, and so the same may be asked for again once there is room.
    fs::remove_file(&file).unwrap();
    let done = outcome(operations.begin(begin("once"), work).unwrap()).await;
    assert_eq!(done.state(), OperationState::Succeeded, "{done:?}");
}

#[tokio::test]
async fn c9_a_panic_ends_one_operation() {
    let dir = TempDir::new().unwrap();
    let (operations, _) = open(dir.path());
    let broken = operations.begin(begin(""), |reporter| async move {
        if reporter.cancelled().is_cancelled() {
            return Ok(OperationResult::default());
        }
        panic!("a fault")
    });
    let failed = outcome(broken.unwrap()).await;
    assert_eq!(failed.state(), OperationState::Failed);
    assert_eq!(failed.error.unwrap().reason(), ErrorReason::AgentFault);
}

#[tokio::test]
async fn operations_are_bounded() {
    let dir = TempDir::new().unwrap();
    let (operations, _) = open(dir.path());
    let watch = operations.begin(begin("much"), |reporter| async move {
        for _ in 0..40 {
            reporter.output(OutputStream::Stdout, Bytes::from(vec![7; 100_000]));
        }
        Ok(OperationResult::default())
    });
    outcome(watch.unwrap()).await;
    let id = operations.list()[0].id.clone();
    let events = all(operations.watch(&id, 0).unwrap()).await;
    assert!(matches!(&events[0].1, Event::Gap(gap) if gap.events > 0));
    let kept = printed(&events).len();
    assert!((900_000..=1 << 20).contains(&kept), "{kept}");
    for _ in 0..64 {
        let never = |_| std::future::pending();
        operations.begin(begin(""), never).unwrap();
    }
    let work = |_| async { Ok(OperationResult::default()) };
    let refused = operations.begin(begin(""), work).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    // One that is known already is no further one.
    operations.begin(begin("much"), work).unwrap();
    for wrong in ["with a blank", "ü", &"x".repeat(129)] {
        let refused = operations.begin(begin(wrong), work).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn records_that_cannot_be_read_are_left_alone() {
    let dir = TempDir::new().unwrap();
    let (operations, _) = open(dir.path());
    let work = |_| async { Ok(OperationResult::default()) };
    outcome(operations.begin(begin("good"), work).unwrap()).await;
    let good = operations.list();
    // Another agent with the same directory takes nothing from the first.
    let (second, _) = open(dir.path());
    assert_eq!(second.list(), []);
    close(operations).await;
    drop(second);
    let folder = dir.path().join("operations");
    let broken = folder.join("0123.operation");
    fs::write(&broken, [0xff; 100]).unwrap();
    let record = folder.join(format!("{}.operation", good[0].id));
    let copy = folder.join("4567.operation");
    fs::copy(&record, &copy).unwrap();
    let (operations, _) = open(dir.path());
    assert_eq!(operations.list(), good);
    assert!(broken.exists() && copy.exists());
}
