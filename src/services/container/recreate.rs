//! Begins the recreation of a container.

use std::time::Duration;

use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{container_ref, grace};
use crate::{
    engines::docker::{Engine, names::ImageRef, recreate::Recreate},
    operations::{Begin, Operations, Watch},
    proto::{OperationResult, RecreateContainerRequest},
    services::{
        error::{self, invalid},
        image::work,
        maybe_named,
    },
};

const SETTLE: Duration = Duration::from_secs(10);
const LONGEST_SETTLE: Duration = Duration::from_secs(3600);
const HEALTH: Duration = Duration::from_secs(600);

pub(super) fn begin(
    engine: &Engine,
    operations: &Operations,
    draining: &CancellationToken,
    mut request: RecreateContainerRequest,
) -> Result<Watch, Status> {
    let container = container_ref(&request.container)?;
    let image: Option<ImageRef> = maybe_named("image", &request.image)?;
    let recreate = Recreate {
        image,
        pull: !request.skip_pull,
        credentials: work::credentials(request.credentials.take())?,
        quiet_limit: work::quiet_limit(request.quiet_limit, work::QUIET)?,
        force: request.force,
        grace: grace(request.grace)?,
        settle: settle(request.settle)?,
        health_limit: work::limit("health_limit", request.health_limit, HEALTH)?,
        container,
    };
    let begin = Begin {
        kind: "container.recreate",
        target: recreate.container.to_string(),
        request_id: request.request_id.clone(),
        asked: request.encode_to_vec(),
    };
    let (engine, draining) = (engine.clone(), draining.clone());
    operations.begin(begin, |reporter| async move {
        let cancelled = reporter.cancelled();
        let tell = |step| work::tell(&reporter, step);
        let end = async {
            tokio::select! {
                () = cancelled.cancelled() => {}
                () = draining.cancelled() => {}
            }
        };
        match engine.recreate(&recreate, end, &tell).await {
            Ok(done) => Ok(OperationResult {
                container_id: done.container_id,
                image_id: done.image_id,
                unchanged: done.unchanged,
                warnings: done.warnings,
                ..OperationResult::default()
            }),
            // Taken back, because the agent stops.
            Err(crate::engines::docker::Error::Ended) if draining.is_cancelled() => {
                Err(error::stopping())
            }
            Err(failed) => Err(error::docker(failed)),
        }
    })
}

fn settle(settle: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let Some(settle) = settle else {
        return Ok(SETTLE);
    };
    let given = format!("{}.{:09} s", settle.seconds, settle.nanos);
    let parsed = Duration::try_from(settle).ok();
    parsed
        .filter(|settle| *settle <= LONGEST_SETTLE)
        .ok_or_else(|| invalid("settle", &given, "give 0 s to 1 h"))
}
