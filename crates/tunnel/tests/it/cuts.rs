//! C4: whatever is cut, a call over frames loses nothing and repeats nothing.

use std::{sync::atomic::Ordering, time::Duration};

use tokio_stream::StreamExt;
use tonic::{Code, Request, Streaming};
use turbopanel_tunnel::Settings;

use crate::{
    echo::{Client, Note, note, until},
    rig::{Agent, Plane, Proxy, caller, connected},
};

const LINES: u64 = 200_000;

/// Reads every line once and in order; calls `at` as it goes along.
async fn read_all(mut notes: Streaming<Note>, lines: u64, mut at: impl FnMut(u64)) {
    let mut next = 0;
    while let Some(note) = notes.next().await {
        assert_eq!(note.unwrap().number, next);
        next += 1;
        at(next);
    }
    assert_eq!(next, lines);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_cuts_of_either_link_lose_and_repeat_nothing() {
    let plane = Plane::new(None).await;
    let agents = Proxy::new(plane.address).await;
    let callers = Proxy::new(plane.address).await;
    let agent = Agent::new(agents.address);
    connected(&plane.remote).await;
    let mut client = Client::new(caller(callers.address, "/client/connect"));
    let notes = client.count("Follow", LINES, 120).await.unwrap();
    let reading = read_all(notes, LINES, |line| {
        if line % 1000 == 0 {
            if line % 2000 == 0 {
                agents.cut()
            } else {
                callers.cut()
            }
        }
    });
    tokio::time::timeout(Duration::from_secs(100), reading)
        .await
        .expect("the lines come");
    assert_eq!(agent.echo.seen.started.load(Ordering::SeqCst), 1);
    let dials =
        agents.connections.load(Ordering::SeqCst) + callers.connections.load(Ordering::SeqCst);
    assert!(dials > 20, "only {dials} connections: the cuts did not cut");
    until("nothing runs", || agent.server.running_calls() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_of_the_control_plane_lose_and_repeat_nothing() {
    let mut plane = Plane::new(None).await;
    let agents = Proxy::new(plane.address).await;
    let callers = Proxy::new(plane.address).await;
    let agent = Agent::new(agents.address);
    connected(&plane.remote).await;
    let mut client = Client::new(caller(callers.address, "/client/connect"));
    let mut notes = client.count("Follow", LINES, 120).await.unwrap();
    for number in 0..LINES {
        assert_eq!(notes.next().await.unwrap().unwrap().number, number);
        if number % 40_000 == 20_000 {
            plane.stop();
            plane = Plane::new(None).await;
            agents.lead_to(plane.address);
            callers.lead_to(plane.address);
        }
    }
    assert!(notes.next().await.is_none());
    assert_eq!(agent.echo.seen.started.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_of_an_upload_and_of_a_conversation_lose_and_repeat_nothing() {
    let plane = Plane::new(None).await;
    let agents = Proxy::new(plane.address).await;
    let _agent = Agent::new(agents.address);
    connected(&plane.remote).await;
    let mut client = Client::new(plane.remote.channel());
    let cutting = async {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            agents.cut();
        }
        std::future::pending::<()>().await
    };
    let work = async {
        let upload = tokio_stream::iter(0..20_000u64).map(|number| note(number, 1000));
        let sum = client.sum(upload).await.unwrap();
        assert_eq!(sum.number, 199_990_000);
        assert_eq!(&sum.body[..], b"20000000");
        let (send, receive) = tokio::sync::mpsc::channel(1);
        let mut chat = client
            .chat(tokio_stream::wrappers::ReceiverStream::new(receive))
            .await
            .unwrap();
        for number in 0..500 {
            send.send(note(number, 10)).await.unwrap();
            assert_eq!(chat.next().await.unwrap().unwrap().number, number);
        }
    };
    tokio::select! {
        () = cutting => {}
        done = tokio::time::timeout(Duration::from_secs(60), work) => done.expect("it ends"),
    }
}

/// The agent was replaced: what it ran is lost and said to be; a read of which nothing had come begins again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_cannot_be_resumed_says_so() {
    let plane = Plane::new(None).await;
    let first = Agent::new(plane.address);
    connected(&plane.remote).await;
    let mut client = Client::new(plane.remote.channel());
    let mut follow = client.count("Follow", 0, 10).await.unwrap();
    follow.next().await.unwrap().unwrap();
    let mut other = Client::new(plane.remote.channel());
    let hanging = tokio::spawn(async move { other.unary(Request::new(note(999, 1))).await });
    until("it hangs", || {
        first.echo.seen.running.load(Ordering::SeqCst) == 2
    })
    .await;
    first.stop();
    let _second = Agent::new(plane.address);
    let status = loop {
        match follow.next().await.unwrap() {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    let status = hanging.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

/// A caller that never comes back costs its call, after the time that it is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_is_gone_for_good_ends_its_calls() {
    let plane = Plane::new(None).await;
    let settings = Settings {
        detached_for: Duration::from_millis(200),
        ..Settings::default()
    };
    let agent = Agent::with(plane.address, settings);
    connected(&plane.remote).await;
    let channel = caller(plane.address, "/client/connect");
    let follow = Client::new(channel).count("Follow", 0, 10).await.unwrap();
    assert_eq!(agent.server.running_calls(), 1);
    // The runtime of the caller ends without a word: its link is simply gone.
    std::mem::forget(follow);
    plane.stop();
    until("the call is cancelled", || {
        agent.server.running_calls() == 0
    })
    .await;
    assert_eq!(agent.echo.seen.running.load(Ordering::SeqCst), 0);
}
