//! The near ends of tunnels to an agent: real frames over real WebSockets.

use std::{future::Future, sync::Arc};

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use turbopanel_agent::{Agent, engines::docker::EngineAddress, router};
use turbopanel_tunnel::{
    CallerLink, Channel, DialHeaders, Instance, PlaneHello, Remote, Server, Settings, Socket,
    Target, connect_caller, greet_agent, upgrade,
};

/// Takes WebSockets at the URL that it returns.
async fn listen<F: Future<Output = ()> + Send + 'static>(
    take: impl Fn(Socket) -> F + Clone + Send + Sync + 'static,
) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let take = take.clone();
            let service = service_fn(move |mut request| {
                let (response, upgrading) = upgrade(&mut request).unwrap();
                let take = take.clone();
                tokio::spawn(async move { take(upgrading.await.unwrap().socket().await).await });
                std::future::ready(Ok::<_, std::convert::Infallible>(response))
            });
            tokio::spawn(async move {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(tcp), service)
                    .with_upgrades()
                    .await;
            });
        }
    });
    (url, task)
}

/// A caller's channel to an agent in this process.
pub struct Tunnel {
    pub channel: Channel,
    task: JoinHandle<()>,
}

impl Tunnel {
    /// An agent with this engine.
    pub async fn to(engine: EngineAddress) -> Self {
        let agent = Agent::integrated("far", engine, None);
        let router = router::build(&agent).await;
        let server = Server::new(router, Agent::methods(), Settings::default());
        let instance = Instance::random();
        let (url, task) = listen(move |socket| {
            let server = server.clone();
            let link = CallerLink {
                caller: "tester".into(),
                agent: "far".into(),
                instance,
            };
            async move {
                server
                    .serve_caller(socket, link, CancellationToken::new())
                    .await;
            }
        })
        .await;
        let target = Target::parse(&url).unwrap().join("/client/connect");
        Self {
            channel: connect_caller(target, DialHeaders::default(), Agent::methods()),
            task,
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A control plane that takes whoever dials it for one agent.
pub struct Plane {
    pub url: String,
    pub remote: Remote,
    task: JoinHandle<()>,
}

impl Plane {
    /// It calls the agent by this name, and wants a heartbeat each second.
    pub async fn start(agent: &'static str) -> Self {
        let remote = Remote::new(agent, Agent::methods(), &Settings::default());
        let (taking, instance) = (remote.clone(), Instance::random());
        let (url, task) = listen(move |socket| {
            let remote = taking.clone();
            async move {
                let hello = PlaneHello {
                    name: "test".into(),
                    instance,
                    authorities: Vec::new(),
                    heartbeat_seconds: 1,
                    redial_spread_ms: 1,
                    verify: Arc::new(|_, _| Ok(())),
                };
                if let Ok(greeted) = greet_agent(socket, &hello, agent).await {
                    remote.run_agent(greeted, CancellationToken::new()).await;
                }
            }
        })
        .await;
        Self { url, remote, task }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.task.abort();
    }
}
