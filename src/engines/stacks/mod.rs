//! Stacks: compose projects, with the containers that the engine shows of them.

pub mod listed;
pub mod names;
