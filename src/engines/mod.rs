//! What does the work: Docker, processes, the host. No gRPC type is named in here.

pub(crate) mod cgroup;
pub mod docker;
pub mod host;
pub mod metrics;
pub mod process;
