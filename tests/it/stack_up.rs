//! Stacks that are brought up, changed, restarted and taken down by compose.

use turbopanel_agent::proto::{DownStackRequest, OperationState, RestartStackRequest, StackFiles};

use crate::{
    docker_support::docker,
    stack_support::{Rig, ended, files},
};

const WEB: &str = "
  web:
    image: turbopanel/test:busybox
    command: [sleep, '600']
    stop_grace_period: 0s
    environment: {LEVEL: '${LEVEL:-one}'}
    volumes: ['data:/data']
";
const DB: &str = "
  db:
    image: turbopanel/test:busybox
    command: [sleep, '600']
    stop_grace_period: 0s
";

fn compose(services: &[&str]) -> StackFiles {
    let text = format!("services:{}volumes: {{data: {{}}}}\n", services.concat());
    files(&[("compose.yaml", &text)])
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_a_stack_lives_from_up_to_down() {
    let mut rig = Rig::start("life").await;
    let stack = rig.stack.clone();

    let up = rig.brought_up(rig.up(Some(compose(&[WEB, DB])))).await;
    assert_eq!(up.operation.state(), OperationState::Succeeded, "{up:?}");
    assert_eq!(
        (up.operation.kind.as_str(), up.operation.target.as_str()),
        ("stack.up", stack.as_str())
    );
    let web = format!("Container {stack}-web-1");
    assert!(up.told(&web, "Started"), "{up:?}");
    assert!(!up.operation.result.as_ref().unwrap().unchanged);
    let first = rig.containers().await;
    assert_eq!(first.len(), 2);
    assert!(first.values().all(|(_, running)| *running), "{first:?}");

    // The same again, by the files that are kept.
    let again = rig.brought_up(rig.up(None)).await;
    assert!(
        again.operation.result.as_ref().unwrap().unchanged,
        "{again:?}"
    );
    assert_eq!(rig.containers().await, first);

    // Another value makes one container anew, and leaves the other.
    let mut changed = compose(&[WEB, DB]);
    changed
        .files
        .push(crate::stack_support::file(".env", "LEVEL=two\n"));
    let up = rig.brought_up(rig.up(Some(changed))).await;
    assert_eq!(up.operation.state(), OperationState::Succeeded, "{up:?}");
    let second = rig.containers().await;
    assert_ne!(second["web"], first["web"]);
    assert_eq!(second["db"], first["db"]);

    let restart = RestartStackRequest {
        stack: stack.clone(),
        services: vec!["db".to_owned()],
        ..RestartStackRequest::default()
    };
    let began = |id: &str| docker(None, &["inspect", "-f", "{{.State.StartedAt}}", id]);
    let before = (began(&second["db"].0), began(&second["web"].0));
    let events = rig.client.restart_stack(restart).await.unwrap();
    let restarted = ended(events.into_inner()).await;
    assert_eq!(
        restarted.operation.state(),
        OperationState::Succeeded,
        "{restarted:?}"
    );
    assert_eq!(rig.containers().await, second);
    assert_ne!(began(&second["db"].0), before.0);
    assert_eq!(began(&second["web"].0), before.1);

    // What the files do not name any more is told, and removed when asked for.
    let up = rig.brought_up(rig.up(Some(compose(&[WEB])))).await;
    let warnings = up.operation.result.unwrap().warnings;
    assert!(
        warnings.iter().any(|warning| warning.contains("orphan")),
        "{warnings:?}"
    );
    let mut request = rig.up(None);
    request.remove_orphans = true;
    rig.brought_up(request).await;
    assert_eq!(rig.containers().await.keys().collect::<Vec<_>>(), ["web"]);

    let volume = format!("{stack}_data");
    let volumes = || {
        docker(
            None,
            &["volume", "ls", "-q", "--filter", &format!("name={volume}")],
        )
    };
    assert_eq!(volumes(), volume);
    let down = rig.taken_down(DownStackRequest::default()).await;
    assert_eq!(
        down.operation.state(),
        OperationState::Succeeded,
        "{down:?}"
    );
    assert!(rig.containers().await.is_empty());
    assert_eq!(volumes(), volume);
    // It may be brought up again by what is kept; and what is gone already may be taken down.
    rig.brought_up(rig.up(None)).await;
    let down = DownStackRequest {
        volumes: true,
        forget_files: true,
        ..DownStackRequest::default()
    };
    rig.taken_down(down.clone()).await;
    assert_eq!(volumes(), "");
    let nothing = rig.taken_down(down).await;
    assert_eq!(
        nothing.operation.state(),
        OperationState::Succeeded,
        "{nothing:?}"
    );
    assert!(nothing.operation.result.as_ref().unwrap().unchanged);
    assert!(!rig.folder().exists());
    let up = rig.brought_up(rig.up(None)).await;
    assert_eq!(up.failure().0, "STACK_FILES_MISSING", "{up:?}");
}
