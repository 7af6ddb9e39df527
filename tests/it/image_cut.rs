//! C4 and C5 of a pull: the link to the control plane is cut in the middle of it, for a moment or for good.

use std::time::Duration;

use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::Streaming;
use turbopanel_agent::proto::{
    Operation, OperationEvent, OperationState, PullImageRequest, WatchOperationRequest,
    image_service_client::ImageServiceClient, operation_event::Event,
    operation_service_client::OperationServiceClient,
};

use crate::{
    agent_support::Agent,
    docker_support::{eventually, unique},
    image_forward::Forward,
    image_hostile::{Fake, Fault},
    image_support::{Names, exists, follow, pull_of},
    tunnel_support::Plane,
};

async fn next(events: &mut Streaming<OperationEvent>) -> OperationEvent {
    let next = timeout(Duration::from_secs(60), events.next()).await;
    next.unwrap().unwrap().unwrap()
}

/// Reads until a layer is being downloaded; the operation, and the position up to which was read.
async fn downloading(events: &mut Streaming<OperationEvent>) -> (Operation, u64) {
    let mut begun = None;
    loop {
        let event = next(events).await;
        match event.event.unwrap() {
            Event::Operation(operation) => begun = Some(operation),
            Event::Progress(progress) if progress.status == "Downloading" => {
                return (begun.unwrap(), event.position);
            }
            _ => {}
        }
    }
}

async fn connected(plane: &Plane) {
    let mut presence = plane.remote.presence();
    let there = presence.wait_for(|presence| presence.connected);
    timeout(Duration::from_secs(60), there)
        .await
        .unwrap()
        .unwrap();
}

fn host(plane: &Plane) -> String {
    plane.url.trim_start_matches("http://").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c4_c5_a_pull_goes_on_while_the_control_plane_is_away() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start("web-9").await;
    let link = Forward::start(&host(&plane));
    let _agent = Agent::start(&[
        ("CONTROL_PLANE_URL", &format!("http://{}", link.address)),
        ("AGENT_STATE_DIR", state.path().to_str().unwrap()),
    ]);
    connected(&plane).await;
    let mut images = ImageServiceClient::new(plane.remote.channel());

    // Away for a moment, in which the pull ends: the call goes on where it was.
    let fake = Fake::start(Fault::Stalls).await;
    let name = fake.name();
    let _names = Names(vec![name.clone()]);
    let begun = images.pull_image(pull_of(&name)).await;
    let mut events = begun.unwrap().into_inner();
    let (_, mut read) = downloading(&mut events).await;
    link.cut();
    fake.go.send_replace(true);
    eventually("it is there without a link", async || exists(&name)).await;
    link.lead(&host(&plane));
    let ended = loop {
        let event = next(&mut events).await;
        assert!(event.position > read, "{event:?} after {read}");
        read = event.position;
        if let Some(Event::Operation(operation)) = event.event {
            break operation;
        }
    };
    assert_eq!(ended.state(), OperationState::Succeeded, "{ended:?}");
    assert!(events.next().await.is_none());
    connected(&plane).await;

    // Away for good: another control plane, which knows nothing of the call, takes its place.
    let fake = Fake::start(Fault::Stalls).await;
    let name = fake.name();
    let _other_names = Names(vec![name.clone()]);
    let request = PullImageRequest {
        request_id: unique("cut"),
        ..pull_of(&name)
    };
    let begun = images.pull_image(request.clone()).await;
    let (operation, position) = downloading(&mut begun.unwrap().into_inner()).await;
    link.cut();
    fake.go.send_replace(true);
    eventually("it is there without a link", async || exists(&name)).await;
    drop(plane);
    let plane = Plane::start("web-9").await;
    link.lead(&host(&plane));
    connected(&plane).await;
    let mut operations = OperationServiceClient::new(plane.remote.channel());
    let watch = WatchOperationRequest {
        id: operation.id.clone(),
        after_position: position,
    };
    let watched = operations.watch_operation(watch).await;
    let mut rest = watched.unwrap().into_inner();
    let mut read = position;
    let ended = loop {
        let event = next(&mut rest).await;
        assert!(event.position > read, "{event:?} after {read}");
        read = event.position;
        if let Some(Event::Operation(operation)) = event.event {
            break operation;
        }
    };
    assert_eq!(ended.state(), OperationState::Succeeded, "{ended:?}");
    assert_eq!(ended.id, operation.id);
    assert!(rest.next().await.is_none());
    // Asked for again, it is the same one.
    let mut images = ImageServiceClient::new(plane.remote.channel());
    let again = images.pull_image(request).await;
    let again = follow(again.unwrap().into_inner()).await;
    assert_eq!(again.operation, ended);
}
