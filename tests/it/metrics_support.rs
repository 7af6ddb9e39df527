//! A client for figures, and the engine's own to compare them with.

use std::process::Command;

use tonic::Status;
use tonic_types::StatusExt;
use turbopanel_agent::proto::{
    ContainerMetrics, GetContainerMetricsRequest, metrics_service_client::MetricsServiceClient,
};

use crate::agent_support::{Agent, Connected};

/// A host of fixtures, for `AGENT_HOST_ROOT`.
pub const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/host");

pub async fn client(agent: &Agent) -> MetricsServiceClient<Connected> {
    MetricsServiceClient::new(agent.connect(None).await)
}

/// The figures of containers by these names.
pub async fn containers(
    client: &mut MetricsServiceClient<Connected>,
    names: &[&str],
) -> Result<Vec<ContainerMetrics>, Status> {
    let containers = names.iter().map(|name| (*name).to_owned()).collect();
    let request = GetContainerMetricsRequest { containers };
    let answer = client.get_container_metrics(request).await?;
    Ok(answer.into_inner().containers)
}

pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

/// The integer at this path of the engine's own stats, asked for as programs do that have no agent. Only what
/// the test needs of JSON: keys in order, each after the one before.
pub fn engine_says(container: &str, path: &[&str]) -> u64 {
    let url = format!("http://x/v1.41/containers/{container}/stats?stream=false&one-shot=true");
    let output = Command::new("curl")
        .args(["-s", "--unix-socket", "/var/run/docker.sock", &url])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut rest = text.as_str();
    for key in path {
        let quoted = format!("\"{key}\":");
        rest = rest
            .split_once(&quoted)
            .unwrap_or_else(|| panic!("no {key} in {text}"))
            .1;
    }
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no number at {path:?} in {text}"))
}
