//! The Docker engine: containers, their logs, and commands in them.
//!
//! ```text
//!  Engine ── calls ──> bollard ──> transport ──┐
//!     │                                         ├──> socket ──> dockerd
//!     └── logs, exec ──> stream, framing ───────┘
//! ```
//! Names are parsed first ([`names`]); typed calls go through bollard over a transport with deadlines
//! and a negotiated API version ([`version`]); streams are read by the agent itself.

pub mod address;
pub mod container;
pub mod containers;
mod engine;
mod error;
pub mod exec;
pub mod exec_output;
mod exec_signal;
pub mod framing;
mod http1;
mod image_labels;
pub mod lines;
pub mod logs;
pub mod names;
mod paced;
mod podman;
pub mod signal;
mod socket;
mod status;
mod stream;
mod time;
mod transport;
pub mod version;

pub use address::EngineAddress;
pub use engine::Engine;
pub use error::Error;
pub use signal::Signal;
pub use status::{EngineStatus, Watch};
pub use transport::Deadlines;
