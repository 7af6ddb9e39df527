//! Real sockets, real tonic clients and services, and a proxy that cuts.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod bounds;
mod cuts;
mod echo;
mod greeting;
mod hostile;
mod kinds;
mod raw;
mod rig;
mod trust;
mod vectors;
