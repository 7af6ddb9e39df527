//! Peers that break the rules, and peers that say nothing.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use turbopanel_tunnel::{
    CloseCode, DialError, DialHeaders, EndReason, Instance, Server, Settings, Socket,
    agent_session, dial,
    proto::{Command, Data, Packet, ResetCode, frame::Kind},
};

use crate::{
    echo::{Echo, methods, until},
    raw::{closed, command, hello, packet, raw},
    rig::{Agent, Plane, connected, target},
};

async fn own_plane() -> Plane {
    Plane::new(Some(Server::new(
        Echo::default(),
        methods(),
        Settings::default(),
    )))
    .await
}

#[tokio::test]
async fn a_frame_that_lies_about_its_length_ends_the_link_with_the_reason() {
    let plane = own_plane().await;
    for bytes in [
        &[0x12, 0x7f, 0x08][..],
        &[0xff; 30],
        &[0x12, 0x02, 0x42, 0x7f],
    ] {
        let mut ws = raw(&plane, "/own").await;
        ws.send(Message::Binary(Bytes::copy_from_slice(bytes)))
            .await
            .unwrap();
        assert_eq!(closed(&mut ws).await, Some(1002), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_packet_beyond_the_limit_ends_the_link() {
    let plane = own_plane().await;
    let mut ws = raw(&plane, "/own").await;
    let _ = ws
        .send(Message::Binary(vec![0; 1024 * 1024 + 1].into()))
        .await;
    assert_ne!(closed(&mut ws).await, Some(1000));
}

async fn reset_of(frames: Vec<(u32, Kind)>) -> ResetCode {
    let plane = own_plane().await;
    let mut ws = raw(&plane, "/own").await;
    ws.send(packet(frames)).await.unwrap();
    loop {
        let Some(Ok(Message::Binary(bytes))) = ws.next().await else {
            panic!("no reset")
        };
        for frame in Packet::decode(bytes).unwrap().frames {
            if let Some(Kind::Reset(reset)) = frame.kind {
                return reset.code();
            }
        }
    }
}

#[tokio::test]
async fn a_sender_past_its_credit_is_cut_off() {
    let body = || Bytes::from(vec![0; 64 * 1024]);
    let mut frames = vec![(1, Kind::Command(command("/test.Echo/Sum")))];
    for index in 0..5 {
        let data = Data {
            offset: index * 65_536,
            body: body(),
            end: false,
        };
        frames.push((1, Kind::Data(data)));
    }
    assert_eq!(reset_of(frames).await, ResetCode::FlowControl);
}

#[tokio::test]
async fn a_gap_a_bad_id_and_a_bad_path_are_told() {
    let gap = Data {
        offset: 10,
        body: Bytes::from_static(b"x"),
        end: false,
    };
    let frames = vec![
        (1, Kind::Command(command("/test.Echo/Sum"))),
        (1, Kind::Data(gap)),
    ];
    assert_eq!(reset_of(frames).await, ResetCode::Protocol);
    let bad_id = Command {
        call_id: Bytes::from_static(b"short"),
        ..command("/test.Echo/Unary")
    };
    assert_eq!(
        reset_of(vec![(1, Kind::Command(bad_id))]).await,
        ResetCode::Protocol
    );
    assert_eq!(
        reset_of(vec![(1, Kind::Command(command("no slash")))]).await,
        ResetCode::Protocol
    );
    let gone = Command {
        again: true,
        received: 5,
        ..command("/test.Echo/Count")
    };
    assert_eq!(
        reset_of(vec![(1, Kind::Command(gone))]).await,
        ResetCode::Lost
    );
}

#[tokio::test]
async fn unknown_frames_and_text_are_ignored() {
    let plane = own_plane().await;
    let mut ws = raw(&plane, "/own").await;
    ws.send(Message::text("what is this")).await.unwrap();
    // A frame of kind 99, which no version knows yet.
    ws.send(Message::Binary(Bytes::from_static(&[
        0x12, 0x05, 0x08, 0x01, 0x9a, 0x06, 0x00,
    ])))
    .await
    .unwrap();
    ws.send(Message::text("ping")).await.unwrap();
    loop {
        match ws.next().await.unwrap().unwrap() {
            Message::Text(text) => break assert_eq!(text.as_str(), "pong"),
            Message::Binary(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_newer_connection_takes_the_place_of_the_older() {
    let plane = Plane::new(None).await;
    let first = Agent::new(plane.address);
    connected(&plane.remote).await;
    first.stop();
    let second = Agent::new(plane.address);
    until("one of them is connected", || {
        second.ends.lock().unwrap().is_empty()
    })
    .await;
    let third = Agent::new(plane.address);
    let superseded = || {
        let ends = [
            second.ends.lock().unwrap().clone(),
            third.ends.lock().unwrap().clone(),
        ]
        .concat();
        ends.iter().any(|end| {
            matches!(
                end.reason,
                EndReason::ClosedByPeer {
                    code: CloseCode::Superseded,
                    ..
                }
            )
        })
    };
    until("the older is superseded", superseded).await;
    third.stop();
    second.stop();
}

/// C1: a WebSocket that stays silent after the upgrade is given up within 10 s.
#[tokio::test(start_paused = true)]
async fn a_silent_control_plane_is_given_up() {
    let (near, _far) = tokio::io::duplex(1 << 16);
    let server = Server::new(Echo::default(), methods(), Settings::default());
    let began = tokio::time::Instant::now();
    let socket = Socket::new(near, true).await;
    let end = agent_session(socket, hello(), &server, |_| {}, CancellationToken::new()).await;
    assert_eq!(end.reason, EndReason::GreetingTooLate);
    assert!(began.elapsed() < Duration::from_secs(11));
}

/// C1: a half-open link is noticed within 25 s, at both ends.
#[tokio::test(start_paused = true)]
async fn a_half_open_link_is_noticed() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let mut far = tokio_tungstenite::WebSocketStream::from_raw_socket(
        far,
        tokio_tungstenite::tungstenite::protocol::Role::Server,
        None,
    )
    .await;
    let greeting = tokio::spawn(async move {
        use turbopanel_tunnel::proto::{Challenge, Welcome};
        far.send(packet(vec![(0, Kind::Challenge(Challenge::default()))]))
            .await
            .unwrap();
        far.next().await.unwrap().unwrap();
        far.send(packet(vec![(0, Kind::Welcome(Welcome::default()))]))
            .await
            .unwrap();
        // From here on it reads nothing and says nothing.
        far
    });
    let server = Server::new(Echo::default(), methods(), Settings::default());
    let socket = Socket::new(near, true).await;
    let began = tokio::time::Instant::now();
    let end = agent_session(socket, hello(), &server, |_| {}, CancellationToken::new()).await;
    assert_eq!(end.reason, EndReason::Silent);
    assert!(
        began.elapsed() <= Duration::from_secs(25),
        "{:?}",
        began.elapsed()
    );
    drop(greeting.await.unwrap());

    let (near, _far) = tokio::io::duplex(1 << 16);
    let link = turbopanel_tunnel::CallerLink {
        caller: "c".into(),
        agent: String::new(),
        instance: Instance::random(),
    };
    let socket = Socket::new(near, false).await;
    let began = tokio::time::Instant::now();
    let end = server
        .serve_caller(socket, link, CancellationToken::new())
        .await;
    assert_eq!(end, EndReason::Silent);
    assert!(began.elapsed() <= Duration::from_secs(26));
}

/// A3, A5: refusals are told; redirects are not followed and see no second request.
#[tokio::test]
async fn refusals_are_typed_and_redirects_are_not_followed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for (answer, status, retry) in [
        (
            "HTTP/1.1 401 Unauthorized\r\nturbopanel-mode: websocket\r\ncontent-length: 9\r\n\r\nno\u{1} token",
            401,
            None,
        ),
        (
            "HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
            503,
            Some(7),
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            302,
            None,
        ),
        (
            "HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n",
            426,
            None,
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let size = tcp.read(&mut request).await.unwrap();
            tcp.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..size]).into_owned()
        });
        let headers = DialHeaders {
            token: Some("canary".into()),
            ..DialHeaders::default()
        };
        assert!(!format!("{headers:?}").contains("canary"));
        let error = dial(&target(address, "/agent/connect"), &headers)
            .await
            .unwrap_err();
        let refusal = error.refusal().unwrap();
        assert_eq!(refusal.status, status);
        assert_eq!(refusal.retry_after, retry.map(Duration::from_secs));
        assert!(!error.to_string().contains("canary") && !error.mend().is_empty());
        let request = server.await.unwrap().to_lowercase();
        assert!(request.contains("authorization: bearer canary"));
        assert!(!request.lines().next().unwrap().contains("canary"));
    }
}

#[tokio::test]
async fn what_is_no_websocket_server_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = dial(&target(address, "/"), &DialHeaders::default())
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::Connect { .. }), "{error}");
}
