//! gRPC calls over frames over one WebSocket, which the serving end has dialled.
//!
//! ```text
//!  tonic client                                                    tonic service
//!      │ http::Request                                                  ▲ http::Request
//!      ▼                                                                │
//!  Channel ── frames ── link ══ WebSocket ══ link ── frames ─────── Server
//!                         ▲
//!                         │  Remote: one agent as its control plane sees it. It owns the
//!                         │  agent's link, is a caller itself (slot 0), and relays other
//!                         │  callers' links (slot 1 and up) without opening a payload.
//! ```
//!
//! What travels is HTTP: path, headers, body bytes, trailers. A [`Channel`] is a
//! `tower::Service`, so generated tonic clients use it as it is; a [`Server`] takes any such
//! service, for example tonic's `Routes`. Calls belong to the two ends, not to the link: when a link is cut,
//! both ends keep what was not acknowledged, and go on over the next link. The
//! protocol is described in `docs/protocol.md`.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test that is wrong may panic"
    )
)]

mod agent;
mod body;
mod budget;
mod caller;
mod channel;
mod dial;
mod ending;
mod error;
mod first_bytes;
mod flow;
mod frames;
mod handshake;
mod headers;
mod link;
mod liveness;
mod methods;
mod outbox;
mod presence;
mod redial;
mod relay;
mod server;
mod socket;
mod sync;
mod target;
mod timeout;
mod upgrade;

/// The messages `turbopanel.tunnel.v1`, generated from `proto/`.
#[allow(
    missing_docs,
    clippy::all,
    unreachable_pub,
    unused_qualifications,
    rustdoc::all
)]
pub mod proto {
    tonic::include_proto!("turbopanel.tunnel.v1");
}

pub use agent::{AgentHello, SessionEnd, agent_session};
pub use caller::connect_caller;
pub use channel::{Channel, ResponseBody};
pub use dial::{DialError, DialHeaders, Refusal, dial};
pub use ending::{CloseCode, EndReason};
pub use error::status;
pub use first_bytes::FirstBytes;
pub use handshake::{Greeted, PlaneHello, Signer, Verify, greet_agent, signed_bytes};

pub use methods::{Method, Methods};
pub use presence::Presence;
pub use redial::{Outcome, Redial};
pub use relay::Remote;
pub use server::{Caller, CallerLink, Server, Settings};
pub use socket::{Instance, Socket, set_options};
pub use target::{Target, TargetError, is_private};
pub use timeout::grpc_timeout;
pub use upgrade::{BadUpgrade, Upgrading, upgrade};

/// The WebSocket subprotocol of these frames.
pub const SUBPROTOCOL: &str = "turbopanel.tunnel.v1";

/// Body bytes in one frame, at most.
pub const MAX_BODY_FRAME: usize = 64 * 1024;
/// A packet that is accepted, at most. A packet that is sent is half as large at most.
pub const MAX_PACKET: usize = 1024 * 1024;
/// Names and values of the headers of one call, at most.
pub const MAX_HEADERS: usize = 16 * 1024;
/// How far a sender may go before the first credit, unless the peer said otherwise.
pub const FIRST_WINDOW: u64 = 256 * 1024;
/// How far a window grows while its consumer keeps up.
pub const MAX_WINDOW: u64 = 4 * 1024 * 1024;
