//! The agent inside the control plane, named `local`: the agent's own router, called in process.
//! The only place where the control plane uses the agent other than through its contract.

use http::{Request, Response};
use tonic::{body::Body, service::Routes};
use tower_service::Service;
use turbopanel_tunnel::{Methods, Server, Settings};

use super::{ServeConfig, ServeError};

/// The integrated agent. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Integrated {
    router: Routes,
    server: Server,
}

impl Integrated {
    /// Starts the agent.
    pub(super) async fn start(_config: &ServeConfig, methods: Methods) -> Result<Self, ServeError> {
        let (_, health) = tonic_health::server::health_reporter();
        Ok(Self::new(Routes::new(health), methods))
    }

    /// Serves this router, in process and to callers over frames.
    pub(super) fn new(router: Routes, methods: Methods) -> Self {
        let server = Server::new(router.clone(), methods, Settings::default());
        Self { router, server }
    }

    /// Answers a call in process.
    pub(super) async fn answer(mut self, request: Request<Body>) -> Response<Body> {
        let answering = Service::<Request<Body>>::call(&mut self.router, request);
        answering.await.unwrap_or_else(|never| match never {})
    }

    /// For callers over frames.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }
}
