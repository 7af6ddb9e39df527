//! What `/metrics` says, in base units; named as node_exporter and cAdvisor name it where they do.

mod containers;
mod host;
mod own;

use std::time::Duration;

use tokio::time::timeout;

use self::own::Figures;
use super::exposition::Exposition;
use crate::{agent::Agent, engines::metrics::Wanted};

pub use super::exposition::CONTENT_TYPE;

/// How long the engine may take to tell its containers: who scrapes waits 10 s, and the host is told in any case.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads everything and writes it down.
pub async fn text(agent: &Agent) -> String {
    let wanted = Wanted {
        temperatures: true,
        ..Wanted::default()
    };
    let metrics = agent.metrics();
    let (sample, found) = tokio::join!(
        metrics.host(wanted),
        timeout(PATIENCE, metrics.containers())
    );
    let mut text = Exposition::default();
    host::write(&mut text, &sample);
    let mut missing = sample.missing.len();
    match &found {
        Ok(Ok(found)) => {
            containers::write(&mut text, found);
            missing += found.missing.len();
        }
        Ok(Err(_)) | Err(_) => missing += 1,
    }
    own::write(&mut text, &Figures::of(agent, missing));
    text.finish()
}

#[cfg(test)]
#[path = "listed_test.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
