//! The control plane's own services, as one router.

use std::sync::Arc;

use tonic::service::Routes;

use super::ServeError;
use crate::{
    proto::{
        FILE_DESCRIPTOR_SET,
        control::{
            fleet_service_server::FleetServiceServer, token_service_server::TokenServiceServer,
        },
    },
    registry::Registry,
    services::{Fleet, Reach, TokenIssuer},
};

/// Fleet, tokens, health, and reflection over these and the agents' services.
pub(super) async fn routes(registry: &Arc<Registry>, reach: Reach) -> Result<Routes, ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<FleetServiceServer<Fleet>>().await;
    health
        .set_serving::<TokenServiceServer<TokenIssuer>>()
        .await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Lets tools show the details of errors.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    // Tools of before 2023 ask by the older name.
    let older = reflection().build_v1alpha().map_err(ServeError::Contract)?;
    let newer = reflection().build_v1().map_err(ServeError::Contract)?;
    let tokens = TokenIssuer {
        registry: Arc::clone(registry),
        reach,
    };
    Ok(
        Routes::new(FleetServiceServer::new(Fleet(Arc::clone(registry))))
            .add_service(TokenServiceServer::new(tokens))
            .add_service(health_service)
            .add_service(newer)
            .add_service(older)
            .prepare(),
    )
}
