//! The TurboPanel agent.

pub mod engines;
pub mod services;

/// The contract `turbopanel.agent.v1`, generated from `proto/`.
#[allow(missing_docs, clippy::all, unreachable_pub, unused_qualifications)]
pub mod proto {
    tonic::include_proto!("turbopanel.agent.v1");
    /// The contract as an encoded `FileDescriptorSet`, method options included.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("agent");
}
