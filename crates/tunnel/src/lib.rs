//! gRPC calls over frames over one WebSocket.

/// The messages `turbopanel.tunnel.v1`, generated from `proto/`.
#[allow(missing_docs, clippy::all, unreachable_pub, unused_qualifications)]
pub mod proto {
    tonic::include_proto!("turbopanel.tunnel.v1");
}
