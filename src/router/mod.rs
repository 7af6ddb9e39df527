//! One router for every way in: the services, and the layers that hold for each call.

mod auth;
mod count;
mod deadline;
mod guests;
mod health;
pub mod local;
mod panics;
mod plain;
mod scrape;
mod stopping;
mod unimplemented;

use tonic::{server::NamedService, service::Routes};
use tonic_health::ServingStatus;

use crate::{agent::Agent, proto, services};
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
        ($module:ident, $server:ident, $service:expr) => {
            let server = proto::$module::$server::new($service)
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE);
            served.push(name(&server));
            reporter
                .set_service_status(name(&server), ServingStatus::Serving)
                .await;
            routes = routes.add_service(server);
        };
    }
    let (engine, draining) = (agent.engine(), agent.draining());
    let service = services::agent::AgentApi::new(agent.clone());
    serve!(agent_service_server, AgentServiceServer, service);
    let service = services::container::ContainerApi::new(engine.clone());
    serve!(container_service_server, ContainerServiceServer, service);
    let service = services::command::CommandApi::new(agent.clone());
    serve!(command_service_server, CommandServiceServer, service);
    let service = services::log::LogApi::new(engine.clone()).ended_by(draining.clone());
    serve!(log_service_server, LogServiceServer, service);
    let service = services::operation::OperationApi::new(agent.operations().clone());
    serve!(operation_service_server, OperationServiceServer, service);
    let service = services::network::NetworkApi::new(engine.clone());
    serve!(network_service_server, NetworkServiceServer, service);
    let service = services::volume::VolumeApi::new(engine.clone());
    serve!(volume_service_server, VolumeServiceServer, service);
    let service = services::engine::EngineApi::new(engine.clone()).ended_by(draining.clone());
    serve!(engine_service_server, EngineServiceServer, service);
    let service = services::image::ImageApi::new(agent.clone());
    serve!(image_service_server, ImageServiceServer, service);
    let service =
        services::stack::StackApi::new(agent.stacks().clone(), agent.operations().clone());
    serve!(stack_service_server, StackServiceServer, service);
    let service = services::metrics::MetricsApi::new(agent.clone());
    serve!(metrics_service_server, MetricsServiceServer, service);
    let (metrics, draining) = (agent.metrics().clone(), draining.clone());
    agent.tasks().spawn(async move {
        draining.run_until_cancelled(metrics.keep()).await;
    });
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
    let routes = count::counted(stopping::ended(unimplemented::told(routes), agent), agent);
    Deadline::new(routes.prepare())
}

fn name<S: NamedService>(_: &S) -> &'static str {
    S::NAME
}
