//! The gRPC services: each converts between the contract's messages and the engines.

pub mod container;
pub mod error;
