//! Files of a container, in and out.

use std::pin::Pin;

use futures_util::{Stream, stream};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{container_ref, look};
use crate::{
    engines::docker::{
        Engine,
        copy::{CopyError, CopyInRequest, CopyOut},
    },
    proto::{
        CopyFromContainerRequest, CopyFromContainerResponse, CopyToContainerRequest,
        CopyToContainerResponse, copy_from_container_response, copy_to_container_request::Step,
    },
    services::error::{self, invalid},
};

/// An archive that comes out.
pub(super) type Out = Pin<Box<dyn Stream<Item = Result<CopyFromContainerResponse, Status>> + Send>>;

/// Copies out.
pub(super) async fn out(
    engine: &Engine,
    request: CopyFromContainerRequest,
    draining: CancellationToken,
) -> Result<Out, Status> {
    let container = container_ref(&request.container)?;
    let path = look::path(request.path)?;
    let copy = engine
        .copy_out(&container, &path)
        .await
        .map_err(error::docker)?;
    let stat = copy_from_container_response::Step::Stat(look::stat(copy.stat.clone()));
    // No task and no channel: the caller's pace is the engine's.
    let pieces = stream::unfold(Some((copy, draining)), |state| async {
        let (mut copy, draining) = state?;
        let next = draining.run_until_cancelled(next(&mut copy)).await;
        match next.unwrap_or_else(|| Err(error::stopping())).transpose()? {
            Ok(piece) => Some((Ok(piece), Some((copy, draining)))),
            Err(failed) => Some((Err(failed), None)),
        }
    });
    let first = stream::iter([Ok(response(stat))]);
    Ok(Box::pin(stream::StreamExt::chain(first, pieces)))
}

async fn next(copy: &mut CopyOut) -> Result<Option<CopyFromContainerResponse>, Status> {
    let piece = copy.next().await.map_err(error::docker)?;
    Ok(piece.map(|piece| response(copy_from_container_response::Step::Archive(piece))))
}

fn response(step: copy_from_container_response::Step) -> CopyFromContainerResponse {
    CopyFromContainerResponse { step: Some(step) }
}

/// Copies in.
pub(super) async fn into(
    engine: &Engine,
    mut steps: Streaming<CopyToContainerRequest>,
) -> Result<CopyToContainerResponse, Status> {
    let first = steps.next().await.transpose()?.and_then(|first| first.step);
    let Some(Step::Start(start)) = first else {
        return Err(invalid("start", "", "the first message must be a start"));
    };
    let request = CopyInRequest {
        container: container_ref(&start.container)?,
        directory: look::path(start.path)?,
        keep_kinds: start.keep_kinds,
        keep_owners: start.keep_owners,
    };
    let input = steps.map(|request| match request?.step {
        Some(Step::Archive(piece)) => Ok(piece),
        Some(Step::Start(_)) => Err(invalid("start", "", "an archive is started once")),
        None => Ok(bytes::Bytes::new()),
    });
    match engine.copy_in(&request, input).await {
        Ok(unpacked) => Ok(CopyToContainerResponse {
            entries: unpacked.entries,
            content_bytes: unpacked.bytes,
        }),
        Err(CopyError::Engine(failed)) => Err(error::docker(failed)),
        Err(CopyError::Input(status)) => Err(status),
    }
}
