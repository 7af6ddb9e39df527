//! C6, C8: what is kept is bounded, and the bound stops nobody who reads.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::{io::DuplexStream, task::JoinHandle};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use tokio_util::sync::CancellationToken;
use tonic::Request;
use turbopanel_tunnel::{
    CallerLink, CloseCode, EndReason, Instance, Methods, Remote, Server, Settings, Socket,
    agent_session,
    proto::{Challenge, Command, Welcome, frame::Kind},
};

use crate::{
    echo::{Client, Echo, Note, methods, note, until},
    raw::{await_frame, closed, command, frames, grpc, hello, over, packet, raw, say},
    rig::{Agent, Plane, caller, connected},
};

const MIB: usize = 1024 * 1024;

fn link() -> CallerLink {
    CallerLink {
        caller: "c".into(),
        agent: String::new(),
        instance: Instance::random(),
    }
}

fn server(settings: Settings) -> Server {
    Server::new(Echo::default(), methods(), settings)
}

/// Serves a caller's link over a pipe that holds so many bytes; answers with the caller's end.
async fn served(
    pipe: usize,
    cancel: CancellationToken,
) -> (WebSocketStream<DuplexStream>, JoinHandle<EndReason>) {
    let (near, far) = tokio::io::duplex(pipe);
    let server = server(Settings::default());
    let serving = tokio::spawn(async move {
        let socket = Socket::new(far, false).await;
        server.serve_caller(socket, link(), cancel).await
    });
    (over(near, Role::Client).await, serving)
}

/// A call for notes without end, which fills every window that it gets.
fn endless(limit: u64) -> Command {
    let request = Note {
        number: 0,
        ..note(0, 1000)
    };
    Command {
        body: grpc(&request),
        end: true,
        limit,
        ..command("/test.Echo/Count")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stop_do_not_stop_those_who_read() {
    let plane = Plane::new(None).await;
    let settings = Settings {
        kept_bytes: MIB,
        ..Settings::default()
    };
    let _agent = Agent::with(plane.address, settings);
    connected(&plane.remote).await;
    let mut client = Client::new(plane.remote.channel());
    let mut stopped = Vec::new();
    for _ in 0..16 {
        stopped.push(client.count("Follow", 0, 1000).await.unwrap());
    }
    let mut notes = client.count("Follow", 20_000, 1000).await.unwrap();
    let reading = async {
        for number in 0..20_000 {
            assert_eq!(notes.next().await.unwrap().unwrap().number, number);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading)
        .await
        .expect("the notes come");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_on_its_way_is_not_given_up() {
    let plane = Plane::new(None).await;
    let settings = Settings {
        kept_bytes: MIB,
        finished_for: Duration::from_millis(100),
        ..Settings::default()
    };
    let _agent = Agent::with(plane.address, settings);
    connected(&plane.remote).await;
    let large = note(1, 4 * MIB - 64);
    let calls = (0..5).map(|_| {
        let (mut client, large) = (Client::new(plane.remote.channel()), large.clone());
        async move {
            client
                .unary(Request::new(large))
                .await
                .unwrap()
                .into_inner()
        }
    });
    let answers = tokio::time::timeout(
        Duration::from_secs(60),
        futures_util::future::join_all(calls),
    );
    for answer in answers.await.expect("the answers come") {
        assert_eq!(answer, large);
    }

    // The handler is done; its last bytes wait for a reader who makes a pause.
    let mut client = Client::new(plane.remote.channel());
    let mut notes = client.count("Count", 300, 1000).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    for number in 0..300 {
        assert_eq!(notes.next().await.unwrap().unwrap().number, number);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_is_gone_is_forgotten_also_after_a_crowd() {
    let plane = Plane::new(None).await;
    let settings = Settings {
        kept_bytes: 200 * 1024,
        detached_for: Duration::from_millis(200),
        ..Settings::default()
    };
    let agent = Agent::with(plane.address, settings);
    connected(&plane.remote).await;
    let mut client = Client::new(plane.remote.channel());
    let stopped = client.count("Follow", 0, 1000).await.unwrap();
    client.number(1).await.unwrap();
    drop(stopped);
    until("the crowd is gone", || agent.server.running_calls() == 0).await;
    let mut ws = raw(&plane, "/client/connect").await;
    say(&mut ws, vec![(1, Kind::Command(endless(1000)))]).await;
    until("it runs", || agent.server.running_calls() == 1).await;
    // Without a word.
    drop(ws);
    until("it is forgotten", || agent.server.running_calls() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_limit_is_named_no_more_than_a_window_is_kept() {
    let (mut ws, serving) = served(64 * 1024, CancellationToken::new()).await;
    say(&mut ws, vec![(1, Kind::Command(endless(u64::MAX)))]).await;
    let mut taken = 0;
    while let Ok(message) = tokio::time::timeout(Duration::from_secs(5), ws.next()).await {
        for (_, kind) in frames(message.unwrap().unwrap()) {
            if let Kind::Response(response) = kind {
                taken += response.body.len();
            }
        }
    }
    assert_eq!(taken, 4 * MIB);
    drop(ws);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn attaching_again_and_again_queues_the_answer_once() {
    let (mut ws, serving) = served(4096, CancellationToken::new()).await;
    let first = endless(256 * 1024);
    say(&mut ws, vec![(1, Kind::Command(first.clone()))]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let again = (2..102).map(|stream| {
        let again = Command {
            again: true,
            body: bytes::Bytes::new(),
            end: false,
            ..first.clone()
        };
        (stream, Kind::Command(again))
    });
    say(&mut ws, again.collect()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut taken = 0;
    while let Ok(message) = tokio::time::timeout(Duration::from_secs(5), ws.next()).await {
        taken += message.unwrap().unwrap().len();
    }
    assert!(taken < MIB, "{taken} bytes for an answer of 256 KiB");
    drop(ws);
    serving.await.unwrap();
}

/// A peer that takes nothing is sent away all the same.
#[tokio::test(start_paused = true)]
async fn a_link_that_is_blocked_can_be_closed() {
    let cancel = CancellationToken::new();
    let (mut ws, serving) = served(1024, cancel.clone()).await;
    say(&mut ws, vec![(1, Kind::Command(endless(256 * 1024)))]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = tokio::time::Instant::now();
    cancel.cancel();
    let end = serving.await.unwrap();
    assert!(matches!(end, EndReason::ClosedHere { .. }), "{end:?}");
    assert!(began.elapsed() <= Duration::from_secs(3));
    drop(ws);
}

/// C1: a link that is half open under load is noticed within 25 s, although no ping can be written.
#[tokio::test(start_paused = true)]
async fn a_half_open_link_is_noticed_under_load() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let mut far = over(far, Role::Server).await;
    let peer = tokio::spawn(async move {
        say(&mut far, vec![(0, Kind::Challenge(Challenge::default()))]).await;
        far.next().await.unwrap().unwrap();
        say(&mut far, vec![(0, Kind::Welcome(Welcome::default()))]).await;
        say(&mut far, vec![(1, Kind::Command(endless(256 * 1024)))]).await;
        // It takes the first of the answer, and then nothing, and says nothing.
        await_frame(&mut far, |_, kind| {
            matches!(kind, Kind::Response(_)).then_some(())
        })
        .await;
        far
    });
    let server = server(Settings::default());
    let socket = Socket::new(near, true).await;
    let began = tokio::time::Instant::now();
    let end = agent_session(socket, hello(), &server, |_| {}, CancellationToken::new()).await;
    assert_eq!(end.reason, EndReason::Silent);
    assert!(began.elapsed() <= Duration::from_secs(26));
    drop(peer.await.unwrap());
}

/// A caller that asks and asks and does not read is sent away.
#[tokio::test]
async fn refusals_that_nobody_reads_are_bounded() {
    let remote = Remote::new("away", Methods::default(), &Settings::default());
    let (near, far) = tokio::io::duplex(4096);
    let relaying = tokio::spawn(async move {
        let socket = Socket::new(far, false).await;
        remote
            .run_caller(socket, "c", CancellationToken::new())
            .await
    });
    let mut ws = over(near, Role::Client).await;
    let flood = async {
        for stream in (1..).step_by(500) {
            let commands = (stream..stream + 500).map(|stream| {
                let command = Command {
                    call_id: vec![0; 16].into(),
                    ..Command::default()
                };
                (stream, Kind::Command(command))
            });
            if ws.send(packet(commands.collect())).await.is_err() {
                return;
            }
        }
    };
    // Its end is what the relay says; the flood sees no more than a broken pipe.
    let (end, ()) = tokio::time::timeout(Duration::from_secs(60), async {
        tokio::join!(relaying, flood)
    })
    .await
    .expect("it is sent away");
    let end = end.unwrap();
    assert!(
        matches!(
            &end,
            EndReason::ClosedHere {
                code: CloseCode::Overloaded,
                ..
            }
        ),
        "{end:?}"
    );
}

#[tokio::test]
async fn headers_beyond_the_limit_end_their_call() {
    let (mut ws, _serving) = served(64 * 1024, CancellationToken::new()).await;
    // Small ones, but 30,000 of them.
    let header = turbopanel_tunnel::proto::Header {
        name: "x".to_owned(),
        ..Default::default()
    };
    let many = Command {
        headers: vec![header; 30_000],
        ..command("/test.Echo/Unary")
    };
    say(&mut ws, vec![(1, Kind::Command(many))]).await;
    let told = await_frame(&mut ws, |stream, kind| match kind {
        Kind::Reset(reset) => Some((stream, reset.message)),
        _ => None,
    })
    .await;
    assert_eq!(told, (1, "the headers are larger than 16 KiB".to_owned()));
    ws.send(Message::Close(None)).await.unwrap();
    closed(&mut ws).await;
}

/// A control plane that accepts and closes at once sees callers backing off.
#[tokio::test]
async fn callers_back_off_from_a_control_plane_that_closes_at_once() {
    let plane = Plane::new(None).await;
    plane.close_at_once();
    let channel = caller(plane.address, "/client/connect");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let dials = plane.links.load(std::sync::atomic::Ordering::SeqCst);
    assert!((1..=8).contains(&dials), "{dials} dials in 3 s");
    drop(channel);
}
