//! What `grpc.health.v1` says: the agent itself serves; what needs the container engine serves while
//! the engine is there; nothing does any more once the agent stops.

use tonic::server::NamedService;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    agent::Agent,
    proto::{
        container_service_server::ContainerServiceServer, log_service_server::LogServiceServer,
    },
    services::{container::ContainerApi, log::LogApi},
};

/// Tells of `served`, where the empty name is the agent as a whole, from now on. The engine is not asked for
/// this: see [`crate::engines::docker::Engine::attend`].
pub(super) fn follow(agent: &Agent, health: HealthReporter, served: Vec<&'static str>) {
    let mut engine = agent.engine().known();
    let draining = agent.draining().clone();
    agent.engine().attend();
    agent.tasks().spawn(async move {
        let following = async {
            // What they were told to be at first.
            let mut told = Some(true);
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
            std::future::pending::<()>().await
        };
        let _ = draining.run_until_cancelled(following).await;
        for name in served {
            health
                .set_service_status(name, ServingStatus::NotServing)
                .await;
        }
    });
}
