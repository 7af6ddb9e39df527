//! Why a control plane does not start or ends.

use std::{io, net::SocketAddr};

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
