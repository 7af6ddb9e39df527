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
pub mod archive;
mod ask;
pub mod attach;
mod attended;
pub mod container;
pub mod container_look;
pub mod container_state;
pub mod containers;
pub mod copy;
pub mod create;
pub mod create_host;
mod engine;
mod error;
pub mod event;
pub mod events;
pub mod exec;
pub mod exec_output;
mod exec_signal;
pub mod follow;
pub mod framing;
mod http1;
pub mod image;
pub mod image_build;
pub mod image_error;
pub mod image_name;
pub mod images;
pub mod lines;
mod logfile;
pub mod logs;
mod logs_api;
pub mod merge;
pub mod names;
pub mod networks;
mod paced;
mod podman;
pub mod position;
pub mod progress;
pub mod prune;
pub mod reader;
pub mod recreate;
mod recreate_back;
mod recreate_settings;
pub mod registry;
pub mod signal;
mod socket;
pub mod source;
mod sources;
mod stats;
mod status;
mod stream;
pub mod system;
mod tail;
pub mod things;
mod time;
mod transport;
pub mod upload;
pub mod usage;
pub mod version;
pub mod volumes;

pub use address::EngineAddress;
pub use engine::Engine;
pub use error::Error;
pub use signal::Signal;
pub use status::{EngineStatus, Watch};
pub use transport::Deadlines;
