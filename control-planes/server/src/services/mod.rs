//! What the control plane itself offers over gRPC: each service converts between the contract's
//! messages and the [`crate::registry`].

pub mod error;
mod fleet;
mod page;
mod token;

pub use fleet::Fleet;
pub use token::{Reach, TokenIssuer};
