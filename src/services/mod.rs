//! The gRPC services: each converts between the contract's messages and the engines.

pub mod agent;
pub mod command;
pub mod container;
pub mod error;
pub mod log;
pub mod metrics;
pub mod operation;
