//! The gRPC services: each converts between the contract's messages and the engines.

pub mod agent;
pub mod command;
pub mod container;
pub mod engine;
pub mod error;
pub mod image;
mod labels;
mod listing;
pub mod log;
pub mod metrics;
pub mod network;
pub mod operation;
pub mod stack;
mod time;
mod unused;
pub mod volume;

use std::{fmt::Display, str::FromStr};

use tonic::Status;

/// A name in a field of a request.
fn named<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T, Status> {
    text.parse()
        .map_err(|wrong| error::invalid(field, text, wrong))
}

/// A name that may be left out.
fn maybe_named<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<Option<T>, Status> {
    match text {
        "" => Ok(None),
        text => named(field, text).map(Some),
    }
}
