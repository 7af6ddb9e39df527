//! Waiting for the end of a container, whatever happens meanwhile.

use tonic::{Code, Request, Status};
use turbopanel_agent::{
    engines::docker::{Engine, EngineAddress},
    proto::{self, ErrorReason, WaitCondition, container_service_server::ContainerService},
    services::container::ContainerApi,
};

use crate::{
    docker_away::{assert_unreachable, short},
    docker_containers::assert_refused,
    docker_relay::{ENGINE, Relay},
    docker_support::{IMAGE, TestContainer, docker, eventually, unique},
};

async fn wait(
    api: &ContainerApi,
    name: &str,
    condition: WaitCondition,
) -> Result<proto::WaitContainerResponse, Status> {
    let request = proto::WaitContainerRequest {
        container: name.to_owned(),
        condition: condition.into(),
    };
    let waited = api.wait_container(Request::new(request)).await?;
    Ok(waited.into_inner())
}

#[tokio::test]
async fn an_end_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let relay = Relay::start(&path, ENGINE);
    // Longer than a call that waits for nothing may take.
    let api = ContainerApi::new(Engine::with_deadlines(EngineAddress::Unix(path), short()));
    let waits = async |count: usize| {
        eventually("the engine is asked", async || {
            let lines = relay.lines();
            lines.iter().filter(|line| line.contains("/wait?")).count() == count
        })
        .await;
    };
    let script = &[
        "sh",
        "-c",
        "trap 'exit 7' USR1; echo up; while :; do sleep 0.05; done",
    ];
    let container = TestContainer::run(&[], script);
    let (name, renamed) = (container.name.clone(), unique("renamed"));
    eventually("it is up", async || docker(None, &["logs", &name]) == "up").await;
    let waiting = api.clone();
    let ended =
        tokio::spawn(async move { wait(&waiting, &name, WaitCondition::Unspecified).await });
    waits(1).await;
    // It takes another name meanwhile, and another container takes its own.
    docker(None, &["rename", &container.name, &renamed]);
    let other = container;
    docker(
        None,
        &["create", "--name", &other.name, "--net=none", IMAGE],
    );
    let container = TestContainer { name: renamed };
    tokio::time::sleep(short().call * 2).await;
    assert!(!ended.is_finished());
    docker(None, &["kill", "-s", "USR1", &container.name]);
    assert_eq!(ended.await.unwrap().unwrap().exit_code, 7);
    // It is so already.
    let again = wait(&api, &container.name, WaitCondition::NotRunning).await;
    assert_eq!(again.unwrap().exit_code, 7);

    // It is removed while it is waited for.
    let [removed, next] = [WaitCondition::Removed, WaitCondition::NextExit].map(|condition| {
        let (name, waiting) = (container.name.clone(), api.clone());
        tokio::spawn(async move { wait(&waiting, &name, condition).await })
    });
    waits(4).await;
    assert!(!removed.is_finished() && !next.is_finished());
    drop(container);
    assert_eq!(removed.await.unwrap().unwrap().exit_code, 7);
    // It will never end again.
    next.abort();
    let missing = wait(&api, &unique("nosuch"), WaitCondition::NotRunning)
        .await
        .unwrap_err();
    assert_refused(&missing, Code::NotFound, ErrorReason::ContainerNotFound);
    // Callers that are gone leave nothing behind.
    eventually("every connection is closed", async || relay.open() == 0).await;

    // The engine hangs: that is found out, and seen in the status.
    let container = TestContainer::run(&[], &["sleep", "1000"]);
    let waiting = api.clone();
    let name = container.name.clone();
    let hung = tokio::spawn(async move { wait(&waiting, &name, WaitCondition::NotRunning).await });
    waits(5).await;
    relay.hang(true);
    assert_unreachable(&hung.await.unwrap().unwrap_err());
}
