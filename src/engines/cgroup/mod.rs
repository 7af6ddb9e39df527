//! What a container uses, from the kernel's cgroup files of version 1 and 2.
//!
//! ```text
//!  Tree (where cgroups are mounted) ──▶ running ids
//!     └── of a container or a process ──▶ Group (its files) ──▶ Usage
//! ```
//! Figures are those of the engine's own: version 1 counts in many trees, version 2 in one.

mod group;
mod parse;
mod tree;

pub(crate) use group::{Group, Trouble};
pub(crate) use tree::Tree;
