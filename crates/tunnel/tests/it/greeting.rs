//! The greeting of agents, and what a later one means for the earlier.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};
use turbopanel_tunnel::{
    AgentHello, CloseCode, DialHeaders, EndReason, Instance, PlaneHello, Remote, Server,
    SessionEnd, Settings, Signer, Socket, agent_session, connect_caller, greet_agent,
    proto::Heartbeat,
};

use crate::{
    echo::{Client, Echo, methods, note, until},
    raw::hello,
    rig::{Agent, Plane, Proxy, connected, target},
};

fn plane_hello() -> PlaneHello {
    PlaneHello {
        name: "test".into(),
        instance: Instance::random(),
        authorities: Vec::new(),
        heartbeat_seconds: 0,
        redial_spread_ms: 1,
        verify: Arc::new(|_, _| Ok(())),
    }
}

fn remote() -> Remote {
    Remote::new("echo", methods(), &Settings::default())
}

/// Connects an agent with this greeting over a pipe; answers with how both sides ended, once they did.
fn meet(
    remote: &Remote,
    plane: PlaneHello,
    agent: AgentHello,
    cancel: &CancellationToken,
) -> (
    tokio::task::JoinHandle<SessionEnd>,
    tokio::task::JoinHandle<SessionEnd>,
) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = Server::new(Echo::default(), methods(), Settings::default());
    let stop = cancel.clone();
    let agent = tokio::spawn(async move {
        let socket = Socket::new(near, true).await;
        agent_session(socket, agent, &server, |_| {}, stop).await
    });
    let (remote, stop) = (remote.clone(), cancel.clone());
    let plane = tokio::spawn(async move {
        let socket = Socket::new(far, false).await;
        match greet_agent(socket, &plane, "echo").await {
            Ok(greeted) => remote.run_agent(greeted, stop).await,
            Err(end) => end,
        }
    });
    (agent, plane)
}

struct Key(Ed25519KeyPair);

impl Signer for Key {
    fn public_key(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sign(bytes).as_ref().to_vec()
    }
}

#[tokio::test]
async fn the_signature_covers_the_challenge_and_the_greeting() {
    let key = || {
        let random = ring::rand::SystemRandom::new();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Arc::new(Key(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()))
    };
    let verified = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&verified);
    let plane = PlaneHello {
        verify: Arc::new(move |hello, bytes| {
            seen.lock().unwrap().push(bytes.to_vec());
            UnparsedPublicKey::new(&ED25519, &hello.public_key)
                .verify(bytes, &hello.signature)
                .map_err(|_| "the signature is wrong".to_owned())
        }),
        ..plane_hello()
    };
    let cancel = CancellationToken::new();
    let remote = remote();
    let signed = AgentHello {
        signer: Some(key()),
        authority: "plane.example:443".into(),
        dial: 7,
        ..hello()
    };
    let instance = signed.instance;
    let (agent, _plane) = meet(&remote, plane.clone(), signed, &cancel);
    connected(&remote).await;
    cancel.cancel();
    agent.await.unwrap();
    let bytes = verified.lock().unwrap().pop().unwrap();
    let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(holds(b"turbopanel.tunnel.v1") && holds(b"plane.example:443"));
    assert!(holds(instance.as_bytes()) && holds(&7u64.to_be_bytes()));

    // Without a key, and with a signature of something else, nobody gets in.
    struct Wrong(Arc<Key>);
    impl Signer for Wrong {
        fn public_key(&self) -> Vec<u8> {
            self.0.public_key()
        }
        fn sign(&self, bytes: &[u8]) -> Vec<u8> {
            self.0.sign(&bytes[1..])
        }
    }
    let signers: [Option<Arc<dyn Signer>>; 2] = [None, Some(Arc::new(Wrong(key())))];
    for signer in signers {
        let unsigned = AgentHello { signer, ..hello() };
        let cancel = CancellationToken::new();
        let (agent, _plane) = meet(&remote, plane.clone(), unsigned, &cancel);
        let end = agent.await.unwrap();
        assert!(
            matches!(
                &end.reason,
                EndReason::ClosedByPeer {
                    code: CloseCode::Unauthenticated,
                    ..
                }
            ),
            "{end:?}"
        );
        assert!(!end.welcomed);
    }
}

/// A challenge cannot be passed on: both ends compare the name that was dialled.
#[tokio::test]
async fn a_control_plane_of_another_name_is_told() {
    let plane = PlaneHello {
        authorities: vec!["real.example:443".into()],
        ..plane_hello()
    };
    let dialled = AgentHello {
        authority: "other.example:443".into(),
        ..hello()
    };
    let (agent, _plane) = meet(&remote(), plane, dialled, &CancellationToken::new());
    let end = agent.await.unwrap();
    assert!(
        end.to_string()
            .contains("real.example:443; correct CONTROL_PLANE_URL"),
        "{end}"
    );
}

#[tokio::test]
async fn heartbeats_come_as_often_as_they_were_asked_for() {
    let plane = PlaneHello {
        heartbeat_seconds: 1,
        ..plane_hello()
    };
    let beating = AgentHello {
        heartbeat: Some(Arc::new(|| Heartbeat {
            calls: 3,
            ..Heartbeat::default()
        })),
        ..hello()
    };
    let (remote, cancel) = (remote(), CancellationToken::new());
    let _ends = meet(&remote, plane, beating, &cancel);
    until("a heartbeat arrives", || {
        remote.heartbeat().is_some_and(|beat| beat.calls == 3)
    })
    .await;
    cancel.cancel();
}

/// A dial that was overtaken by a later one of the same run does not take its place.
#[tokio::test]
async fn the_later_dial_of_an_agent_stays() {
    let (remote, cancel) = (remote(), CancellationToken::new());
    let instance = Instance::random();
    let dial = |dial| AgentHello {
        instance,
        dial,
        ..hello()
    };
    let (fifth, _plane) = meet(&remote, plane_hello(), dial(5), &cancel);
    connected(&remote).await;
    let (third, _plane) = meet(&remote, plane_hello(), dial(3), &cancel);
    let end = third.await.unwrap();
    let superseded = |end: &SessionEnd| {
        matches!(
            end.reason,
            EndReason::ClosedByPeer {
                code: CloseCode::Superseded,
                ..
            }
        )
    };
    assert!(superseded(&end), "{end:?}");
    let mut client = Client::new(remote.channel());
    assert_eq!(client.number(4).await.unwrap().number, 4);
    let (_sixth, _plane) = meet(&remote, plane_hello(), dial(6), &cancel);
    let end = fifth.await.unwrap();
    assert!(superseded(&end), "{end:?}");
    cancel.cancel();
}

/// A control plane that gives an agent's session up without waiting for its end leaves nothing of it.
#[tokio::test]
async fn a_session_that_is_dropped_is_over() {
    let (remote, cancel) = (remote(), CancellationToken::new());
    let (_agent, plane) = meet(&remote, plane_hello(), hello(), &cancel);
    connected(&remote).await;
    plane.abort();
    let presence = remote.presence();
    until("the agent is away", || !presence.borrow().connected).await;
    let status = Client::new(remote.channel()).number(1).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    cancel.cancel();
}

/// The control plane's own calls end with it: the next one never had them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_control_plane_ends_the_calls_of_the_last() {
    let plane = Plane::new(None).await;
    let proxy = Proxy::new(plane.address).await;
    let agent = Agent::new(proxy.address);
    connected(&plane.remote).await;
    let mut client = Client::new(plane.remote.channel());
    let waiting = tokio::spawn(async move { client.number(999).await });
    until("it runs", || agent.server.running_calls() == 1).await;
    let next = Plane::new(None).await;
    proxy.lead_to(next.address);
    connected(&next.remote).await;
    until("it is cancelled", || agent.server.running_calls() == 0).await;
    waiting.abort();
}

/// A read of which nothing had come begins again on the agent that took the place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_of_which_nothing_came_begins_again() {
    let plane = Plane::new(None).await;
    let proxy = Proxy::new(plane.address).await;
    let (remote, cancel) = (plane.remote.clone(), CancellationToken::new());
    // An agent that answers nothing.
    let silent = {
        let target = target(proxy.address, "/agent/connect");
        let never = tower::service_fn(|_| std::future::pending());
        let server = Server::new(never, methods(), Settings::default());
        let cancel = cancel.clone();
        tokio::spawn(async move {
            let socket = turbopanel_tunnel::dial(&target, &DialHeaders::default())
                .await
                .unwrap();
            agent_session(socket, hello(), &server, |_| {}, cancel).await
        })
    };
    connected(&remote).await;
    let reading = {
        let mut client = Client::new(remote.channel());
        tokio::spawn(async move {
            let mut notes = client.count("Count", 1, 3).await?;
            notes.message().await
        })
    };
    let writing = {
        let mut client = Client::new(remote.channel());
        tokio::spawn(async move { client.unary(Request::new(note(1, 3))).await })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    cancel.cancel();
    silent.await.unwrap();
    let agent = Agent::new(proxy.address);
    let note = reading.await.unwrap().unwrap();
    assert_eq!(note.unwrap().number, 0);
    assert_eq!(
        writing.await.unwrap().unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(agent.echo.seen.started.load(Ordering::SeqCst), 1);
}

/// A deadline holds also while there is no way to the control plane.
#[tokio::test]
async fn a_deadline_ends_the_wait_for_a_link() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let headers = DialHeaders::default();
    let mut client = Client::new(connect_caller(target(address, "/"), headers, methods()));
    let mut request = Request::new(note(1, 3));
    request.set_timeout(Duration::from_millis(100));
    let status = client.unary(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}
