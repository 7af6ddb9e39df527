//! A control plane, an agent that dials it, callers, and proxies between them that cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Response;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use turbopanel_tunnel::{
    AgentHello, CallerLink, Channel, DialHeaders, Instance, PlaneHello, Remote, Server, SessionEnd,
    Settings, Target, agent_session, connect_caller, dial, greet_agent, set_options, upgrade,
};

use crate::echo::{Echo, methods, until};

/// Passes TCP on, until it is told to cut what passes through it.
pub struct Proxy {
    pub address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    cut: Arc<Mutex<CancellationToken>>,
    pub connections: Arc<AtomicUsize>,
}

impl Proxy {
    pub async fn new(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            target: Arc::new(Mutex::new(target)),
            cut: Arc::default(),
            connections: Arc::default(),
        };
        let (target, cut, connections) = (
            Arc::clone(&proxy.target),
            Arc::clone(&proxy.cut),
            Arc::clone(&proxy.connections),
        );
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let target = *target.lock().unwrap();
                let cut = cut.lock().unwrap().clone();
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else {
                        return;
                    };
                    set_options(&near);
                    set_options(&far);
                    let _ = cut
                        .run_until_cancelled(copy_bidirectional(&mut near, &mut far))
                        .await;
                });
            }
        });
        proxy
    }

    pub fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }

    pub fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = target;
        self.cut();
    }
}

/// One control plane with one agent, named `echo`; callers reach it as the control plane does,
/// through the relay, or an own service without an agent.
pub struct Plane {
    pub address: SocketAddr,
    pub remote: Remote,
    /// How many WebSockets were opened.
    pub links: Arc<AtomicUsize>,
    stop: CancellationToken,
    closing: CancellationToken,
}

impl Plane {
    pub async fn new(own: Option<Server>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plane = Self {
            address: listener.local_addr().unwrap(),
            remote: Remote::new("echo", methods(), &Settings::default()),
            links: Arc::default(),
            stop: CancellationToken::new(),
            closing: CancellationToken::new(),
        };
        let (remote, stop, instance) =
            (plane.remote.clone(), plane.stop.clone(), Instance::random());
        let (links, closing) = (Arc::clone(&plane.links), plane.closing.clone());
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let (tcp, _) = accepted.unwrap();
                set_options(&tcp);
                let (remote, own) = (remote.clone(), own.clone());
                let stop = match closing.is_cancelled() {
                    true => closing.clone(),
                    false => stop.clone(),
                };
                let links = Arc::clone(&links);
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        links.fetch_add(1, Ordering::SeqCst);
                        answer(request, remote.clone(), own.clone(), instance, stop.clone())
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(tcp), service)
                        .with_upgrades()
                        .await;
                });
            }
        });
        plane
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// From now on, closes every WebSocket as soon as it is open.
    pub fn close_at_once(&self) {
        self.closing.cancel();
    }
}

async fn answer(
    mut request: http::Request<Incoming>,
    remote: Remote,
    own: Option<Server>,
    instance: Instance,
    stop: CancellationToken,
) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let (response, upgrading) = match upgrade(&mut request) {
        Ok(upgraded) => upgraded,
        Err(bad) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = bad.status();
            return Ok(response);
        }
    };
    tokio::spawn(async move {
        let Ok(opened) = upgrading.await else { return };
        let socket = opened.socket().await;
        match path.as_str() {
            "/agent/connect" => {
                let hello = PlaneHello {
                    name: "test".into(),
                    instance,
                    authorities: Vec::new(),
                    heartbeat_seconds: 0,
                    redial_spread_ms: 1,
                    verify: Arc::new(|_, _| Ok(())),
                };
                if let Ok(greeted) = greet_agent(socket, &hello, "echo").await {
                    remote.run_agent(greeted, stop).await;
                }
            }
            "/own" => {
                let link = CallerLink {
                    caller: "tester".into(),
                    agent: String::new(),
                    instance,
                };
                own.unwrap().serve_caller(socket, link, stop).await;
            }
            // The principal is the last part of the path.
            path => {
                let caller = path.strip_prefix("/client/connect/").unwrap_or("tester");
                remote.run_caller(socket, caller, stop).await;
            }
        }
    });
    Ok(response)
}

/// An agent that dials again at once, whatever happens.
pub struct Agent {
    pub server: Server,
    pub echo: Echo,
    pub ends: Arc<Mutex<Vec<SessionEnd>>>,
    stop: CancellationToken,
}

impl Agent {
    pub fn new(address: SocketAddr) -> Self {
        Self::with(address, Settings::default())
    }

    pub fn with(address: SocketAddr, settings: Settings) -> Self {
        let echo = Echo::default();
        let agent = Self {
            server: Server::new(echo.clone(), methods(), settings),
            echo,
            ends: Arc::default(),
            stop: CancellationToken::new(),
        };
        let (server, ends, stop) = (
            agent.server.clone(),
            Arc::clone(&agent.ends),
            agent.stop.clone(),
        );
        tokio::spawn(async move {
            let (instance, dials) = (Instance::random(), AtomicU64::new(1));
            let target = target(address, "/agent/connect");
            while !stop.is_cancelled() {
                let Ok(socket) = dial(&target, &DialHeaders::default()).await else {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                };
                let hello = AgentHello {
                    agent: None,
                    instance,
                    dial: dials.fetch_add(1, Ordering::SeqCst),
                    version: "0.0.0".into(),
                    policy: String::new(),
                    capabilities: Vec::new(),
                    authority: target.authority(),
                    signer: None,
                    heartbeat: None,
                };
                let end = agent_session(socket, hello, &server, |_| {}, stop.clone()).await;
                ends.lock().unwrap().push(end);
            }
        });
        agent
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }
}

pub fn target(address: SocketAddr, path: &str) -> Target {
    Target::parse(&format!("http://{address}"))
        .unwrap()
        .join(path)
}

pub fn caller(address: SocketAddr, path: &str) -> Channel {
    connect_caller(target(address, path), DialHeaders::default(), methods())
}

pub async fn connected(remote: &Remote) {
    let presence = remote.presence();
    until("the agent is connected", || presence.borrow().connected).await;
}
