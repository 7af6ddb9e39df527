//! One router for every way in: the services, and the layers that hold for each call.

mod auth;
mod deadline;
mod guests;
mod health;
pub mod local;
mod panics;
mod stopping;
mod unimplemented;

use tonic::{server::NamedService, service::Routes};
use tonic_health::ServingStatus;

use crate::{
    agent::Agent,
    proto::{
        self, agent_service_server::AgentServiceServer,
        command_service_server::CommandServiceServer,
        container_service_server::ContainerServiceServer,
        engine_service_server::EngineServiceServer, image_service_server::ImageServiceServer,
        log_service_server::LogServiceServer, network_service_server::NetworkServiceServer,
        operation_service_server::OperationServiceServer,
        volume_service_server::VolumeServiceServer,
    },
    services::{
        agent::AgentApi, command::CommandApi, container::ContainerApi, engine::EngineApi,
        image::ImageApi, log::LogApi, network::NetworkApi, operation::OperationApi,
        volume::VolumeApi,
    },
};
pub use auth::Auth;
pub use deadline::Deadline;

/// A gRPC message, at most.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Assembles an agent's services. The result is what a tunnel serves, and what a control plane calls in process.
pub async fn build(agent: &Agent) -> Deadline<Routes> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let mut routes = Routes::new(health_service);
    // The empty name is the agent as a whole.
    let mut served = vec![""];
    macro_rules! serve {
        ($server:ident, $service:expr) => {
            let server = $server::new($service)
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE);
            served.push(name(&server));
            reporter
                .set_service_status(name(&server), ServingStatus::Serving)
                .await;
            routes = routes.add_service(server);
        };
    }
    serve!(AgentServiceServer, AgentApi::new(agent.clone()));
    serve!(
        ContainerServiceServer,
        ContainerApi::new(agent.engine().clone())
            .ended_by(agent.draining().clone())
            .operating(agent.operations().clone())
    );
    serve!(CommandServiceServer, CommandApi::new(agent.clone()));
    serve!(
        LogServiceServer,
        LogApi::new(agent.engine().clone()).ended_by(agent.draining().clone())
    );
    serve!(
        OperationServiceServer,
        OperationApi::new(agent.operations().clone())
    );
    serve!(
        NetworkServiceServer,
        NetworkApi::new(agent.engine().clone())
    );
    serve!(ImageServiceServer, ImageApi::new(agent.clone()));
    serve!(
        EngineServiceServer,
        EngineApi::new(agent.engine().clone()).ended_by(agent.draining().clone())
    );
    serve!(VolumeServiceServer, VolumeApi::new(agent.engine().clone()));
    health::follow(agent, reporter, served);
    // The set is made by this crate's own build, and a test lists it by reflection.
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    if let Ok(reflection) = reflection {
        routes = routes.add_service(reflection);
    }
    let routes = stopping::ended(unimplemented::told(routes), agent);
    Deadline::new(routes.prepare())
}

fn name<S: NamedService>(_: &S) -> &'static str {
    S::NAME
}
