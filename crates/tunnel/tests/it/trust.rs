//! Callers are kept apart: from the connection, from each other, and from calls that were before them.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::tungstenite::Message;
use turbopanel_tunnel::{
    Instance, Server, Settings,
    proto::{Command, Data, Detach, Done, Header, Reset, ResetCode, Response, frame::Kind},
};

use crate::{
    echo::{Client, Echo, methods, note, until},
    raw::{await_frame, closed, command, grpc, raw, say},
    rig::{Agent, Plane, caller, connected},
};

/// A unary call, whole.
fn unary(number: u64) -> Command {
    Command {
        body: grpc(&note(number, 3)),
        end: true,
        ..command("/test.Echo/Unary")
    }
}

fn is_end(kind: Kind) -> Option<Response> {
    match kind {
        Kind::Response(response) if response.end => Some(response),
        _ => None,
    }
}

fn is_reset(kind: Kind) -> Option<ResetCode> {
    match kind {
        Kind::Reset(reset) => Some(reset.code()),
        _ => None,
    }
}

fn value(headers: &[Header], name: &str) -> Option<String> {
    let header = headers.iter().find(|header| header.name == name)?;
    Some(String::from_utf8_lossy(&header.value).into_owned())
}

/// A caller's own frames of the connection, and a principal that it claims, count for nothing.
#[tokio::test]
async fn a_caller_cannot_speak_for_the_connection_or_for_another() {
    let plane = Plane::new(None).await;
    let agent = Agent::new(plane.address);
    connected(&plane.remote).await;
    let mut others = raw(&plane, "/client/connect/other").await;
    let waiting = Command {
        body: grpc(&note(999, 0)),
        end: true,
        ..command("/test.Echo/Unary")
    };
    say(&mut others, vec![(1, Kind::Command(waiting))]).await;
    until("the other's call runs", || {
        agent.echo.seen.running.load(Ordering::SeqCst) == 1
    })
    .await;
    let mut ws = raw(&plane, "/client/connect/tester").await;
    let claimed = Command {
        caller: "root".into(),
        ..unary(3)
    };
    let frames = vec![
        (0, Kind::Goodbye(Default::default())),
        (0, Kind::Detach(Default::default())),
        (1, Kind::Command(claimed)),
    ];
    say(&mut ws, frames).await;
    let response = await_frame(&mut ws, |_, kind| is_end(kind)).await;
    assert_eq!(
        value(&response.headers, "x-caller").as_deref(),
        Some("tester")
    );
    assert_eq!(agent.echo.seen.running.load(Ordering::SeqCst), 1);
    assert!(agent.ends.lock().unwrap().is_empty());
}

/// Nor can it end another's calls as revoked, where no relay stands between.
#[tokio::test]
async fn a_caller_cannot_revoke_another() {
    let server = Server::new(Echo::default(), methods(), Settings::default());
    let own = Plane::new(Some(server)).await;
    let mut client = Client::new(caller(own.address, "/own"));
    let mut notes = client.count("Follow", 0, 10).await.unwrap();
    let revoked = Kind::Detach(Detach {
        revoked: "tester".into(),
    });
    let mut ws = raw(&own, "/own").await;
    say(&mut ws, vec![(0, revoked)]).await;
    let reading = async {
        for _ in 0..100_000 {
            notes.next().await.unwrap().unwrap();
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(60), reading).await;
    read.expect("the call goes on");
}

/// A caller whose frames are no frames inside ends its own link, not the agent's.
#[tokio::test]
async fn a_lie_within_a_frame_ends_the_link_of_who_told_it() {
    let plane = Plane::new(None).await;
    let agent = Agent::new(plane.address);
    connected(&plane.remote).await;
    // Frame { stream: 1, data: Data { offset: (a text where a number belongs) } }, and a credit alike.
    for inside in [
        &[0x08, 0x01, 0x4a, 0x03, 0x0a, 0x01, 0x00][..],
        &[0x08, 0x01, 0x62, 0x03, 0x0a, 0x01, 0x00],
    ] {
        let mut ws = raw(&plane, "/client/connect").await;
        let mut packet = vec![0x12, inside.len() as u8];
        packet.extend_from_slice(inside);
        ws.send(Message::Binary(packet.into())).await.unwrap();
        assert_eq!(closed(&mut ws).await, Some(1002));
    }
    let mut client = Client::new(caller(plane.address, "/client/connect"));
    assert_eq!(client.number(3).await.unwrap().number, 3);
    assert!(agent.ends.lock().unwrap().is_empty());
}

/// Another caller's call is unknown, also to who knows its id; it neither goes on there nor is it cancelled.
#[tokio::test]
async fn a_call_belongs_to_its_caller() {
    let plane = Plane::new(None).await;
    let agent = Agent::new(plane.address);
    connected(&plane.remote).await;
    let mut mine = raw(&plane, "/client/connect/me").await;
    let upload = Command {
        body: grpc(&note(1, 3)),
        ..command("/test.Echo/Sum")
    };
    say(&mut mine, vec![(1, Kind::Command(upload.clone()))]).await;
    until("it runs", || agent.server.running_calls() == 1).await;
    let mut other = raw(&plane, "/client/connect/you").await;
    let again = Command {
        again: true,
        received: 1,
        body: Bytes::new(),
        ..upload.clone()
    };
    say(&mut other, vec![(1, Kind::Command(again))]).await;
    let reset = await_frame(&mut other, |_, kind| is_reset(kind)).await;
    assert_eq!(reset, ResetCode::Lost);
    // A reset of the same stream number on another link is another call's.
    let cancel = Reset {
        code: ResetCode::Cancel.into(),
        ..Reset::default()
    };
    say(&mut other, vec![(1, Kind::Reset(cancel))]).await;
    let rest = Data {
        offset: upload.body.len() as u64,
        body: grpc(&note(2, 3)),
        end: true,
    };
    say(&mut mine, vec![(1, Kind::Data(rest))]).await;
    let response = await_frame(&mut mine, |_, kind| is_end(kind)).await;
    assert_eq!(
        value(&response.trailers, "grpc-status").as_deref(),
        Some("0")
    );
}

/// A call that was started once is not started again, whatever its caller repeats; nor is one that was meant for another run.
#[tokio::test]
async fn a_call_with_side_effects_runs_once() {
    let echo = Echo::default();
    let server = Server::new(echo.clone(), methods(), Settings::default());
    let plane = Plane::new(Some(server)).await;
    let mut ws = raw(&plane, "/own").await;
    let once = unary(5);
    say(&mut ws, vec![(1, Kind::Command(once.clone()))]).await;
    await_frame(&mut ws, |_, kind| is_end(kind)).await;
    let again = Command {
        again: true,
        ..once
    };
    // The finished answer is still there, until it is known to have arrived.
    say(&mut ws, vec![(2, Kind::Command(again.clone()))]).await;
    await_frame(&mut ws, |stream, kind| is_end(kind).filter(|_| stream == 2)).await;
    say(&mut ws, vec![(2, Kind::Done(Done {}))]).await;
    say(&mut ws, vec![(3, Kind::Command(again))]).await;
    let reset = await_frame(&mut ws, |_, kind| is_reset(kind)).await;
    assert_eq!(reset, ResetCode::Lost);
    let other_run = Command {
        instance: Instance::random().as_bytes().to_vec().into(),
        ..unary(6)
    };
    say(&mut ws, vec![(4, Kind::Command(other_run))]).await;
    let reset = await_frame(&mut ws, |_, kind| is_reset(kind)).await;
    assert_eq!(reset, ResetCode::Refused);
    assert_eq!(echo.seen.started.load(Ordering::SeqCst), 1);
}

/// The link of one caller is cut for good; the others and the control plane stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_without_a_word_costs_its_own_calls() {
    let plane = Plane::new(None).await;
    let settings = Settings {
        detached_for: Duration::from_millis(200),
        ..Settings::default()
    };
    let agent = Agent::with(plane.address, settings);
    connected(&plane.remote).await;
    let mut client = Client::new(caller(plane.address, "/client/connect"));
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let mut chat = client.chat(ReceiverStream::new(receive)).await.unwrap();
    let mut leaving = raw(&plane, "/client/connect").await;
    say(&mut leaving, vec![(1, Kind::Command(unary(999)))]).await;
    until("both run", || agent.server.running_calls() == 2).await;
    drop(leaving);
    until("one is gone", || agent.server.running_calls() == 1).await;
    send.send(note(8, 1)).await.unwrap();
    assert_eq!(chat.next().await.unwrap().unwrap().number, 8);
}

/// Only a control plane says that a principal is revoked.
#[tokio::test]
async fn a_caller_revokes_nobody() {
    let own = Server::new(Echo::default(), methods(), Settings::default());
    let plane = Plane::new(Some(own)).await;
    let mut client = Client::new(caller(plane.address, "/own"));
    let mut notes = client.count("Follow", 0, 10).await.unwrap();
    let revoked = Detach {
        revoked: "tester".into(),
    };
    let mut ws = raw(&plane, "/own").await;
    say(&mut ws, vec![(0, Kind::Detach(revoked))]).await;
    let reading = async {
        for _ in 0..100_000 {
            notes.next().await.unwrap().unwrap();
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(60), reading).await;
    read.expect("the call goes on");
}
