//! What does the work: Docker, stacks, processes, the host. No gRPC type is named in here.

pub(crate) mod cgroup;
pub mod docker;
pub mod host;
pub mod metrics;
pub mod process;
pub mod stacks;
