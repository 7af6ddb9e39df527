//! An agent's router at the far end of a tunnel: real frames over a real WebSocket.

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use turbopanel_agent::{Agent, engines::docker::EngineAddress, router};
use turbopanel_tunnel::{
    CallerLink, Channel, DialHeaders, Instance, Server, Settings, Target, connect_caller, upgrade,
};

/// A caller's channel to an agent.
pub struct Tunnel {
    pub channel: Channel,
    task: JoinHandle<()>,
}

impl Tunnel {
    /// An agent with this engine.
    pub async fn to(engine: EngineAddress) -> Self {
        let agent = Agent::integrated("far", engine);
        let router = router::build(&agent).await;
        let server = Server::new(router, Agent::methods(), Settings::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let instance = Instance::random();
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let server = server.clone();
                let service = service_fn(move |mut request| {
                    let server = server.clone();
                    async move {
                        let (response, upgrading) = upgrade(&mut request).unwrap();
                        tokio::spawn(async move {
                            let socket = upgrading.await.unwrap().socket().await;
                            let link = CallerLink {
                                caller: "tester".into(),
                                agent: "far".into(),
                                instance,
                            };
                            let stop = CancellationToken::new();
                            server.serve_caller(socket, link, stop).await;
                        });
                        Ok::<_, std::convert::Infallible>(response)
                    }
                });
                tokio::spawn(async move {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(tcp), service)
                        .with_upgrades()
                        .await;
                });
            }
        });
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
