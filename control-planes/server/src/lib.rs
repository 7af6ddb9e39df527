//! The self-hosted control plane.

pub mod registry;
pub mod serve;
pub mod services;
pub mod store;

/// The contracts, generated from `proto/`.
#[allow(missing_docs, clippy::all, unreachable_pub, unused_qualifications)]
pub mod proto {
    /// What an agent offers.
    pub mod agent {
        tonic::include_proto!("turbopanel.agent.v1");
    }
    /// What the control plane itself offers.
    pub mod control {
        tonic::include_proto!("turbopanel.control.v1");
    }
    /// Both contracts as an encoded `FileDescriptorSet`, method options included.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("contract");
}
