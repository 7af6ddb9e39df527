//! What `turbopanel serve` is told, as valid values. The command line and its environment
//! variables are parsed elsewhere; nothing is read from the environment in here.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// The port of a control plane unless told otherwise.
pub const DEFAULT_PORT: u16 = 18282;

/// How long running calls may go on after a stop was asked for, unless told otherwise.
pub(super) const GRACE: Duration = Duration::from_secs(7);

/// How a control plane serves.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Where to listen. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// Where the state lives. Created with mode 0700 when missing.
    pub data_dir: PathBuf,
    /// Whether an agent named `local` runs inside the control plane.
    pub integrated_agent: bool,
    /// The URL under which agents reach this control plane, when it differs from `listen`:
    /// `http://` or `https://`, without a path.
    pub public_url: Option<String>,
    /// The container engine of the integrated agent, as in `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// The name that agents are told, for people.
    pub name: String,
    /// Over how long agents spread their dials when they come back, so that a big fleet does not
    /// come at once.
    pub redial_spread: Duration,
    /// How long running calls may go on after a stop was asked for.
    pub grace: Duration,
    /// Connections at once, at most.
    pub max_connections: usize,
}

impl ServeConfig {
    /// The defaults, with the state in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT),
            data_dir: data_dir.into(),
            integrated_agent: true,
            public_url: None,
            docker_host: None,
            name: "turbopanel".to_owned(),
            redial_spread: Duration::from_secs(3),
            grace: GRACE,
            max_connections: 16_384,
        }
    }
}
