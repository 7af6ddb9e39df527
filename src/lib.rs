//! The TurboPanel agent.
//!
//! ```text
//!  control plane ══ WebSocket ══ connect ── tunnel ──┐
//!                                                    ├──▶ router ──▶ services ──▶ engines
//!  grpcurl ───────── port 18284 ── router::local ────┘   (deadlines)  (gRPC)      (Docker, processes, host)
//! ```
//!
//! Both ways in reach one router, so that every call behaves alike. A control plane that has an agent
//! built in calls the same router in process, by [`Agent::integrated`]. Imports point one way, from left to right.
//! Services hand work that outlives its caller to [`operations`].

pub mod agent;
pub mod config;
pub mod connect;
pub mod engines;
pub mod excerpt;
pub mod operations;
pub mod router;
pub mod services;
pub mod supervisor;
pub mod tally;

pub use agent::Agent;

/// The contract `turbopanel.agent.v1`, generated from `proto/`.
#[allow(
    missing_docs,
    clippy::all,
    unreachable_pub,
    unused_qualifications,
    rustdoc::all
)]
pub mod proto {
    tonic::include_proto!("turbopanel.agent.v1");
    /// The contract as an encoded `FileDescriptorSet`, method options included.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("agent");
}

/// The version of this agent.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
