//! The server: one port for agents, for callers over gRPC and for callers over frames.

mod config;
mod error;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::{DEFAULT_PORT, ServeConfig};
pub use error::ServeError;

/// The file in the data directory that holds the administrator's token.
pub const ADMIN_TOKEN_FILE: &str = "admin-token";

/// A control plane whose port is bound and whose state is open; [`Plane::serve`] runs it.
#[derive(Debug)]
pub struct Plane {
    config: ServeConfig,
    address: SocketAddr,
    _listener: TcpListener,
}

impl Plane {
    /// Opens the state and binds the port.
    pub async fn bind(config: ServeConfig) -> Result<Self, ServeError> {
        let bound = TcpListener::bind(config.listen).await;
        let listener = bound.map_err(|source| ServeError::Bind {
            address: config.listen,
            source,
        })?;
        let address = listener.local_addr().map_err(|source| ServeError::Bind {
            address: config.listen,
            source,
        })?;
        Ok(Self {
            config,
            address,
            _listener: listener,
        })
    }

    /// The address that is listened on, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file that holds the administrator's token.
    pub fn admin_token_file(&self) -> PathBuf {
        admin_token_file(&self.config.data_dir)
    }

    /// Serves until `shutdown` is cancelled, then drains within the grace period.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        shutdown.cancelled().await;
        Ok(())
    }
}

/// Where the control plane with the state in `data_dir` keeps the administrator's token.
pub fn admin_token_file(data_dir: &Path) -> PathBuf {
    data_dir.join(ADMIN_TOKEN_FILE)
}

/// Binds and serves: [`Plane::bind`], then [`Plane::serve`].
pub async fn run(config: ServeConfig, shutdown: CancellationToken) -> Result<(), ServeError> {
    Plane::bind(config).await?.serve(shutdown).await
}
