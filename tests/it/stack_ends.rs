//! Operations on stacks that fail, are cancelled, lose their callers or their agent, and repeat.

use std::time::Duration;

use tokio::time::timeout;
use turbopanel_agent::proto::{
    CancelOperationRequest, DownStackRequest, GetOperationRequest, OperationState,
    RestartStackRequest, StackFiles, WatchOperationRequest, operation_event::Event,
};

use crate::{
    command_support::reason,
    docker_support::{docker, eventually},
    stack_support::{Rig, ended, files},
};

/// A service that is healthy once /tmp/ok is there.
fn waiting() -> StackFiles {
    let text = "
services:
  web:
    image: turbopanel/test:busybox
    command: [sleep, '600']
    stop_grace_period: 0s
    healthcheck: {test: [CMD, test, -f, /tmp/ok], interval: 1s, timeout: 30s, retries: 1000}
";
    files(&[("compose.yaml", text)])
}

/// Processes that have the stack's name in their command line.
fn composes(stack: &str) -> usize {
    let named = |entry: std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("docker-compose") && line.contains(stack)
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.map(named).filter(|named| *named).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_a_service_that_fails_fails_the_stack() {
    let mut rig = Rig::start("fails").await;
    let text = "services: {web: {image: 'turbopanel/test:busybox', command: ['false']}}";
    let mut request = rig.up(Some(files(&[("compose.yaml", text)])));
    request.wait = true;
    let up = rig.brought_up(request).await;
    assert_eq!(up.operation.state(), OperationState::Failed);
    let (reason, message, metadata) = up.failure();
    assert_eq!(reason, "STACK_FAILED");
    assert!(message.contains("exited (1)"), "{message}");
    assert_eq!(metadata["exit_code"], "1");
    // One that is never ready is waited for as long as was said.
    let mut request = rig.up(Some(waiting()));
    request.wait = true;
    request.wait_timeout = Some(prost_types::Duration {
        seconds: 2,
        nanos: 0,
    });
    let up = rig.brought_up(request.clone()).await;
    let (reason, message, _) = up.failure();
    assert_eq!(reason, "TIME_OVER");
    assert!(message.contains("not ready after 2 s"), "{message}");
    assert!(rig.containers().await["web"].1);
    request.wait = false;
    let refused = rig.client.up_stack(request).await.unwrap_err();
    assert_eq!(crate::command_support::reason(&refused), "INVALID_FIELD");
    let restart = RestartStackRequest {
        stack: "tpd-nobody".to_owned(),
        ..RestartStackRequest::default()
    };
    let restarted = rig.client.restart_stack(restart).await.unwrap();
    let restarted = ended(restarted.into_inner()).await;
    assert_eq!(restarted.failure().0, "STACK_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_a_cancelled_operation_ends_compose_and_lets_the_next_begin() {
    let mut rig = Rig::start("cancel").await;
    let stack = rig.stack.clone();
    let mut request = rig.up(Some(waiting()));
    request.wait = true;
    let mut first = rig.client.up_stack(request).await.unwrap().into_inner();
    let mut id = String::new();
    loop {
        match first.message().await.unwrap().unwrap().event.unwrap() {
            Event::Operation(operation) => id = operation.id,
            Event::Progress(progress) if progress.status == "Waiting" => break,
            _ => {}
        }
    }
    assert!(composes(&stack) > 0);
    // Another one of the same stack waits for its turn; it may be cancelled while it does.
    let second = rig.client.down_stack(DownStackRequest {
        stack: stack.clone(),
        ..DownStackRequest::default()
    });
    let mut second = second.await.unwrap().into_inner();
    second.message().await.unwrap().unwrap();
    let third = rig.client.up_stack(rig.up(None)).await.unwrap();
    let mut third = third.into_inner();
    let Some(Event::Operation(operation)) = third.message().await.unwrap().unwrap().event else {
        panic!("it does not begin with itself");
    };
    let cancel = |id: &str| CancelOperationRequest { id: id.to_owned() };
    rig.operations
        .cancel_operation(cancel(&operation.id))
        .await
        .unwrap();
    assert_eq!(
        ended(third).await.operation.state(),
        OperationState::Cancelled
    );
    let still = timeout(Duration::from_millis(300), second.message()).await;
    assert!(still.is_err(), "it did not wait: {still:?}");

    rig.operations.cancel_operation(cancel(&id)).await.unwrap();
    let first = ended(first).await;
    assert_eq!(
        first.operation.state(),
        OperationState::Cancelled,
        "{first:?}"
    );
    let second = ended(second).await;
    assert_eq!(
        second.operation.state(),
        OperationState::Succeeded,
        "{second:?}"
    );
    eventually("compose has ended", async || composes(&stack) == 0).await;
    assert!(rig.containers().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_an_operation_outlives_its_caller_and_runs_once() {
    let mut rig = Rig::start("cut").await;
    let mut request = rig.up(Some(waiting()));
    request.wait = true;
    request.request_id = "deploy-7".to_owned();
    let mut events = rig
        .client
        .up_stack(request.clone())
        .await
        .unwrap()
        .into_inner();
    let (mut id, mut position) = (String::new(), 0);
    loop {
        let event = events.message().await.unwrap().unwrap();
        position = position.max(event.position);
        match event.event.unwrap() {
            Event::Operation(operation) => id = operation.id,
            Event::Progress(progress) if progress.status == "Waiting" => break,
            _ => {}
        }
    }
    // The caller is cut off.
    drop(events);
    let get = GetOperationRequest { id: id.clone() };
    let operation = rig.operations.get_operation(get).await.unwrap();
    assert_eq!(
        operation.into_inner().operation.unwrap().state(),
        OperationState::Running
    );
    let again = rig
        .client
        .up_stack(request.clone())
        .await
        .unwrap()
        .into_inner();
    let mut other = request;
    other.files = Some(files(&[("compose.yaml", "services: {}")]));
    let refused = rig.client.up_stack(other).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_IN_USE");
    let watch = WatchOperationRequest {
        id: id.clone(),
        after_position: position,
    };
    let watched = rig.operations.watch_operation(watch).await.unwrap();
    let container = rig.containers().await["web"].0.clone();
    docker(None, &["exec", &container, "touch", "/tmp/ok"]);
    let watched = ended(watched.into_inner()).await;
    assert_eq!(
        watched.operation.state(),
        OperationState::Succeeded,
        "{watched:?}"
    );
    assert!(watched.events.iter().all(|event| event.position > position));
    assert!(
        watched.told(&format!("Container {}-web-1", rig.stack), "Healthy"),
        "{watched:?}"
    );
    let again = ended(again).await;
    assert_eq!(
        (again.operation.id.clone(), again.operation.state()),
        (id, OperationState::Succeeded)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_another_run_of_the_agent_goes_on_with_it() {
    let mut rig = Rig::start("again").await;
    let text = "services: {web: {image: 'turbopanel/test:busybox', command: [sleep, '600'], stop_grace_period: 0s}}";
    let mut request = rig.up(Some(files(&[("compose.yaml", text)])));
    request.request_id = "deploy-1".to_owned();
    let first = rig.brought_up(request.clone()).await;
    assert_eq!(first.operation.error, None);
    let containers = rig.containers().await;
    rig.restart().await;
    assert_eq!(rig.containers().await, containers);
    // The repeat is answered from what was kept.
    let repeat = rig.brought_up(request).await;
    assert_eq!(repeat.operation, first.operation);
    let up = rig.brought_up(rig.up(None)).await;
    assert!(up.operation.result.as_ref().unwrap().unchanged, "{up:?}");
    let down = rig.taken_down(DownStackRequest::default()).await;
    assert_eq!(down.operation.error, None);
    assert!(rig.containers().await.is_empty());
    // Its files are still there, and listed.
    let listed = rig
        .client
        .list_stacks(turbopanel_agent::proto::ListStacksRequest::default());
    let listed = listed.await.unwrap().into_inner().stacks;
    let listed = listed.iter().find(|stack| stack.name == rig.stack).unwrap();
    assert!(listed.kept && listed.containers == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_builds_tell_how_they_get_on() {
    let mut rig = Rig::start("build").await;
    let text = "
services:
  web:
    build: .
    command: [sleep, '600']
    stop_grace_period: 0s
";
    let dockerfile = format!(
        "FROM turbopanel/test:busybox\nCOPY a /a\nRUN echo {}-is-built\n",
        rig.stack
    );
    let sent = files(&[
        ("compose.yaml", text),
        ("Dockerfile", &dockerfile),
        ("a", "x"),
    ]);
    let up = rig.brought_up(rig.up(Some(sent))).await;
    assert_eq!(up.operation.error, None);
    assert!(up.told("web", "Built"), "{up:?}");
    assert!(
        up.printed().contains(&format!("{}-is-built", rig.stack)),
        "{up:?}"
    );
    assert!(rig.containers().await["web"].1);
    // Images are found by labels, without the files.
    let image = format!("{}-web", rig.stack);
    let images = || docker(None, &["image", "ls", "-q", &image]);
    assert_ne!(images(), "");
    let down = DownStackRequest {
        images: turbopanel_agent::proto::down_stack_request::Images::Local.into(),
        ..DownStackRequest::default()
    };
    let down = rig.taken_down(down).await;
    assert_eq!(down.operation.error, None);
    assert_eq!(images(), "", "{down:?}");
}
