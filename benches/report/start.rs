//! How long the agent takes from its start until its local port says SERVING.
//!
//! The control plane is away: readiness of the local port must not wait for it.

use anyhow::ensure;
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    agent::{Agent, free_address},
    row::{Goal, Row, median},
};

const RUNS: usize = 20;

pub(crate) fn measure() -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut milliseconds = Vec::with_capacity(RUNS);
    // One more first, so that the binary is in the page cache for all.
    for run in 0..=RUNS {
        let mut agent = Agent::start(free_address()?)?;
        agent.await_port()?;
        let elapsed = runtime.block_on(async {
            let mut health = HealthClient::new(
                Endpoint::from_shared(format!("http://{}", agent.local))?
                    .connect()
                    .await?,
            );
            let request = HealthCheckRequest {
                service: String::new(),
            };
            let answer = health.check(request).await?.into_inner();
            ensure!(
                answer.status() == ServingStatus::Serving,
                "the agent says {:?}",
                answer.status()
            );
            Ok(agent.started.elapsed())
        })?;
        if run > 0 {
            milliseconds.push(elapsed.as_secs_f64() * 1000.0);
        }
    }
    Ok(vec![Row {
        id: "start.ready",
        what: "start to ready on the local port, median of 20",
        unit: "ms",
        value: median(milliseconds),
        reference: None,
        goal: Goal::AtMost(15.0),
    }])
}
