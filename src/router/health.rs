//! What `grpc.health.v1` says: the agent itself serves; what needs the container engine serves while
//! the engine is there.

use tonic::server::NamedService;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    agent::Agent,
    proto::{
        container_service_server::ContainerServiceServer, log_service_server::LogServiceServer,
    },
    services::{container::ContainerApi, log::LogApi},
};

/// Follows the engine's status from now on. It is not asked for this: see [`crate::engines::docker::Engine::attend`].
pub(super) fn follow_engine(agent: &Agent, health: HealthReporter) {
    let mut engine = agent.engine().known();
    let stop = agent.stop().clone();
    agent.engine().attend();
    agent
        .tasks()
        .spawn(stop.run_until_cancelled_owned(async move {
            let mut told = None;
            while engine.changed().await.is_ok() {
                let reachable = engine.borrow_and_update().reachable;
                // Another reason for being away is no news.
                if told.replace(reachable) == Some(reachable) {
                    continue;
                }
                let status = if reachable {
                    ServingStatus::Serving
                } else {
                    ServingStatus::NotServing
                };
                for service in [
                    ContainerServiceServer::<ContainerApi>::NAME,
                    LogServiceServer::<LogApi>::NAME,
                ] {
                    health.set_service_status(service, status).await;
                }
            }
        }));
}
