//! Why a control plane does not start or ends.

use std::{io, net::SocketAddr};

use crate::{registry::RegistryError, store::StoreError};

/// Why a control plane does not start or ends. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port could not be bound.
    #[error("{}", bind_message(*address, source))]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The state could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The administrator's token could not be made.
    #[error("the administrator's token could not be made or read: {}", root(.0))]
    AdminToken(#[source] RegistryError),
    /// The public URL is wrong.
    #[error("--public-url is wrong: {0}; write it as https://panel.example.com")]
    PublicUrl(String),
    /// The container engine's address is wrong.
    #[error("the container engine's address (DOCKER_HOST) is wrong: {0}")]
    DockerHost(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The contract does not fit itself, which its build rules out.
    #[error("the contract cannot be offered by reflection: {0}")]
    Contract(#[source] tonic_reflection::server::Error),
    /// The contract cannot be read, which its build rules out.
    #[error("the contract cannot be read: {0}")]
    Methods(String),
}

/// The last cause is the one that says what to do.
fn root(error: &RegistryError) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    match error {
        RegistryError::Store(error) => error.to_string(),
        _ => last.to_string(),
    }
}

fn bind_message(address: SocketAddr, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {} on {} is in use: stop what listens there (`ss -ltnp 'sport = :{}'` names it) or choose another with --listen",
            address.port(),
            address.ip(),
            address.port(),
        ),
        io::ErrorKind::PermissionDenied => format!(
            "no permission to listen on {address}: ports below 1024 need root; choose another with --listen"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "{} is not an address of this machine: choose one that is with --listen",
            address.ip(),
        ),
        _ => format!("cannot listen on {address}: {source}"),
    }
}
