//! A control plane as small as it can be: the measuring process accepts the agent's WebSocket itself,
//! so that nothing but the tunnel lies between the agent and the caller.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime::Runtime, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use turbopanel_agent::proto::FILE_DESCRIPTOR_SET;
use turbopanel_tunnel::{
    Channel, Instance, Methods, PlaneHello, Remote, Settings, greet_agent, set_options, upgrade,
};

/// The control plane, with a runtime of its own.
pub(crate) struct Plane {
    pub(crate) runtime: Runtime,
    pub(crate) address: SocketAddr,
    remote: Remote,
}

impl Plane {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        Self::on(runtime)
    }

    /// On this runtime; one with a single thread works while it is blocked on.
    pub(crate) fn on(runtime: Runtime) -> anyhow::Result<Self> {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let methods = Methods::from_descriptor_set(FILE_DESCRIPTOR_SET)?;
        let remote = Remote::new("bench", methods, &Settings::default());
        runtime.spawn(accept(listener, remote.clone()));
        Ok(Self {
            runtime,
            address,
            remote,
        })
    }

    /// What tonic's clients call through.
    pub(crate) fn channel(&self) -> Channel {
        self.remote.channel()
    }

    pub(crate) fn await_agent(&self) -> anyhow::Result<()> {
        let mut presence = self.remote.presence();
        self.runtime.block_on(async {
            timeout(
                Duration::from_secs(20),
                presence.wait_for(|presence| presence.connected),
            )
            .await
            .context("the agent did not connect within 20 s")?
            .context("the control plane is gone")?;
            Ok(())
        })
    }
}

async fn accept(listener: TcpListener, remote: Remote) {
    let instance = Instance::random();
    while let Ok((tcp, _)) = listener.accept().await {
        set_options(&tcp);
        let remote = remote.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, remote.clone(), instance));
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(tcp), service)
                .with_upgrades()
                .await
        });
    }
}

async fn answer(
    mut request: Request<Incoming>,
    remote: Remote,
    instance: Instance,
) -> Result<Response<Body>, hyper::Error> {
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
        let hello = PlaneHello {
            name: "bench".to_owned(),
            instance,
            authorities: Vec::new(),
            // As often as `turbopanel serve` asks.
            heartbeat_seconds: 30,
            redial_spread_ms: 1,
            verify: Arc::new(|_, _| Ok(())),
        };
        if let Ok(greeted) = greet_agent(opened.socket().await, &hello, "bench").await {
            remote.run_agent(greeted, CancellationToken::new()).await;
        }
    });
    Ok(response)
}
