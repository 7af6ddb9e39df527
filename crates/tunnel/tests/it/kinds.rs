//! Every kind of call over every way: the control plane's own calls, the relay, and a link served directly.

use std::{sync::atomic::Ordering, time::Duration};

use tokio_stream::StreamExt;
use tonic::{Code, Request};
use tonic_types::StatusExt;
use turbopanel_tunnel::{Channel, Server, Settings};

use crate::{
    echo::{Client, Echo, Seen, methods, note, until},
    rig::{Agent, Plane, caller, connected},
};

async fn every_kind(channel: Channel, seen: &Seen) {
    let mut client = Client::new(channel);

    let mut request = Request::new(note(7, 100));
    request
        .metadata_mut()
        .insert("x-text", "höflich".replace('ö', "oe").parse().unwrap());
    request.metadata_mut().insert_bin(
        "x-bytes-bin",
        tonic::metadata::MetadataValue::from_bytes(&[0, 255, 1]),
    );
    let response = client.unary(request).await.unwrap();
    assert_eq!(response.metadata().get("x-text").unwrap(), "hoeflich");
    let bytes = response
        .metadata()
        .get_bin("x-bytes-bin")
        .unwrap()
        .to_bytes()
        .unwrap();
    assert_eq!(&bytes[..], [0, 255, 1]);
    assert_eq!(response.into_inner(), note(7, 100));

    for method in ["Count", "Follow"] {
        let mut notes = client.count(method, 5000, 120).await.unwrap();
        let mut next = 0;
        while let Some(note) = notes.next().await {
            assert_eq!(note.unwrap().number, next);
            next += 1;
        }
        assert_eq!(next, 5000);
    }

    let large = note(1, 4 * 1024 * 1024 - 64);
    let sum = client
        .sum(tokio_stream::iter((0..100).map(|n| note(n, 1000))))
        .await
        .unwrap();
    assert_eq!((sum.number, &sum.body[..]), (4950, &b"100000"[..]));
    assert_eq!(
        client
            .unary(Request::new(large.clone()))
            .await
            .unwrap()
            .into_inner(),
        large
    );

    let (send, receive) = tokio::sync::mpsc::channel(1);
    let receive = tokio_stream::wrappers::ReceiverStream::new(receive);
    let mut chat = client.chat(receive).await.unwrap();
    for number in 0..50 {
        send.send(note(number, 10)).await.unwrap();
        assert_eq!(chat.next().await.unwrap().unwrap().number, number);
    }
    drop(send);
    assert!(chat.next().await.is_none());

    let status = client.number(404).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::NotFound, "no such note")
    );
    assert_eq!(
        status.get_error_details().error_info().unwrap().reason,
        "NOT_HERE"
    );
    assert_eq!(
        client.unknown().await.unwrap_err().code(),
        Code::Unimplemented
    );

    // C9: a panic ends its call and nothing else.
    let follow = client.count("Follow", 0, 10).await.unwrap();
    let status = client.number(500).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(client.number(1).await.unwrap().number, 1);
    drop(follow);

    let mut request = Request::new(note(999, 0));
    request.set_timeout(Duration::from_millis(50));
    let status = client.unary(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);

    // What is not waited for any more is dropped at the other end.
    let hanging = tokio::time::timeout(Duration::from_millis(50), client.number(999)).await;
    assert!(hanging.is_err());
    until("no handler runs", || {
        seen.running.load(Ordering::SeqCst) == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_plane_calls() {
    let plane = Plane::new(None).await;
    let agent = Agent::new(plane.address);
    connected(&plane.remote).await;
    every_kind(plane.remote.channel(), &agent.echo.seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_calls_through_the_relay() {
    let plane = Plane::new(None).await;
    let agent = Agent::new(plane.address);
    connected(&plane.remote).await;
    every_kind(caller(plane.address, "/client/connect"), &agent.echo.seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_calls_the_control_plane_itself() {
    let echo = Echo::default();
    let server = Server::new(echo.clone(), methods(), Settings::default());
    let plane = Plane::new(Some(server)).await;
    every_kind(caller(plane.address, "/own"), &echo.seen).await;
}

#[tokio::test]
async fn an_agent_that_is_away_is_told_with_when_it_was_seen() {
    let plane = Plane::new(None).await;
    for channel in [
        plane.remote.channel(),
        caller(plane.address, "/client/connect"),
    ] {
        let status = Client::new(channel).number(1).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(
            status.message().contains("agent echo is not connected"),
            "{status}"
        );
        assert!(status.message().contains("never"), "{status}");
    }
    let agent = Agent::new(plane.address);
    connected(&plane.remote).await;
    agent.stop();
    let presence = plane.remote.presence();
    until("the agent is away", || !presence.borrow().connected).await;
    let status = Client::new(plane.remote.channel())
        .number(1)
        .await
        .unwrap_err();
    let info = status.get_error_details().error_info().unwrap().clone();
    assert_eq!(info.reason, "AGENT_OFFLINE");
    assert!(info.metadata["last_seen"].ends_with('Z'), "{info:?}");
}

/// C6: a reader that stops costs its window, and nobody else's time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_harms_nobody() {
    let plane = Plane::new(None).await;
    let _agent = Agent::new(plane.address);
    connected(&plane.remote).await;
    let mut client = Client::new(caller(plane.address, "/client/connect"));
    let mut stopped = Vec::new();
    for _ in 0..20 {
        stopped.push(client.count("Follow", 0, 1000).await.unwrap());
    }
    for number in 0..200 {
        assert_eq!(
            client.number(number % 100).await.unwrap().number,
            number % 100
        );
    }
    let mut notes = stopped.pop().unwrap();
    for number in 0..10_000 {
        assert_eq!(notes.next().await.unwrap().unwrap().number, number);
    }
}

/// C8: further calls than are allowed are refused before they start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_bounded() {
    let plane = Plane::new(None).await;
    let agent = Agent::with(
        plane.address,
        Settings {
            max_calls: 4,
            ..Settings::default()
        },
    );
    connected(&plane.remote).await;
    let mut client = Client::new(plane.remote.channel());
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(client.count("Follow", 0, 10).await.unwrap());
    }
    let status = client.number(1).await.unwrap_err();
    assert_eq!(
        status.get_error_details().error_info().unwrap().reason,
        "TOO_MANY_CALLS"
    );
    assert_eq!(agent.echo.seen.started.load(Ordering::SeqCst), 4);
    drop(open);
    until("they are gone", || agent.server.running_calls() == 0).await;
    assert_eq!(client.number(1).await.unwrap().number, 1);
}
