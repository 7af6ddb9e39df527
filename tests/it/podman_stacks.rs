//! Stacks with Podman as the engine, brought up by Docker's compose plugin. docs/podman.md says what is shown here.

use turbopanel_agent::proto::{DownStackRequest, RestartStackRequest};

use crate::{
    podman_engine::Podman,
    private_engine::IMAGE,
    stack_support::{Rig, ended, files},
};

#[tokio::test(flavor = "multi_thread")]
async fn podman_stacks_are_brought_up_by_dockers_compose() {
    let podman = Podman::start();
    let mut rig = Rig::start_with("pod", &[("DOCKER_HOST", &podman.address())]).await;
    let compose = |network: &str| {
        let text = format!(
            "services:\n  web:\n    image: {IMAGE}\n    command: [sleep, '600']\n    stop_grace_period: 0s\n{network}    volumes: ['data:/data']\nvolumes: {{data: {{}}}}\n"
        );
        files(&[("compose.yaml", &text)])
    };
    let up = rig
        .brought_up(rig.up(Some(compose("    network_mode: none\n"))))
        .await;
    assert_eq!(up.operation.error, None);
    let first = rig.containers().await;
    assert!(first["web"].1, "{first:?}");
    let up = rig.brought_up(rig.up(None)).await;
    assert!(up.operation.result.as_ref().unwrap().unchanged, "{up:?}");
    let restart = RestartStackRequest {
        stack: rig.stack.clone(),
        ..RestartStackRequest::default()
    };
    let restarted = rig.client.restart_stack(restart).await.unwrap();
    assert_eq!(ended(restarted.into_inner()).await.operation.error, None);
    assert_eq!(rig.containers().await["web"].0, first["web"].0);
    let down = DownStackRequest {
        volumes: true,
        ..DownStackRequest::default()
    };
    assert_eq!(rig.taken_down(down.clone()).await.operation.error, None);
    assert!(rig.containers().await.is_empty());
    let left = podman.docker(&[
        "volume",
        "ls",
        "-q",
        "--filter",
        &format!("name={}", rig.stack),
    ]);
    assert_eq!(left, "");

    // On a network, it names that where Docker gives its id: compose makes such containers anew each time.
    let up = rig.brought_up(rig.up(Some(compose("")))).await;
    assert_eq!(up.operation.error, None);
    let first = rig.containers().await;
    let again = rig.brought_up(rig.up(None)).await;
    assert_eq!(again.operation.error, None);
    assert_ne!(rig.containers().await, first);
    assert_eq!(rig.taken_down(down).await.operation.error, None);
    let networks = podman.docker(&[
        "network",
        "ls",
        "-q",
        "--filter",
        &format!("name={}", rig.stack),
    ]);
    assert_eq!(networks, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_health_checks_need_systemd() {
    let podman = Podman::start();
    let mut rig = Rig::start_with("health", &[("DOCKER_HOST", &podman.address())]).await;
    let text = format!(
        "services: {{web: {{image: {IMAGE}, command: [sleep, '600'], stop_grace_period: 0s, network_mode: none, healthcheck: {{test: [CMD, 'true'], interval: 1s}}}}}}"
    );
    let mut request = rig.up(Some(files(&[("compose.yaml", &text)])));
    request.wait = true;
    request.wait_timeout = Some(prost_types::Duration {
        seconds: 3,
        nanos: 0,
    });
    let up = rig.brought_up(request).await;
    if std::path::Path::new("/run/systemd/private").exists() {
        assert_eq!(up.operation.error, None);
    } else {
        // Without it nobody runs them.
        assert_eq!(up.failure().0, "TIME_OVER");
        let web = rig.containers().await["web"].0.clone();
        let health = podman.docker(&["inspect", "-f", "{{.State.Health.Status}}", &web]);
        assert_eq!(health, "starting");
    }
}
