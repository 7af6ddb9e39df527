//! Removes what is not used, kind by kind.

use std::time::{Duration, SystemTime};

use tonic::Status;

use crate::{
    engines::docker::{
        Engine,
        prune::{PruneFilter, Pruned},
    },
    proto::{PruneKind, PruneRequest, PruneResponse},
    services::{
        error::{self, invalid},
        unused,
    },
};

/// Names that are told one by one, at most.
pub(in crate::services) const TOLD: usize = 10_000;

/// One kind.
pub(super) struct Step {
    kind: PruneKind,
    filter: PruneFilter,
    wide: bool,
}

pub(super) fn parse(request: PruneRequest) -> Result<Vec<Step>, Status> {
    let mut kinds = Vec::new();
    for kind in &request.kinds {
        match PruneKind::try_from(*kind) {
            Ok(PruneKind::Unspecified) | Err(_) => {
                let mend = "this kind is not known here";
                return Err(invalid("kinds", &kind.to_string(), mend));
            }
            Ok(kind) => kinds.push(kind),
        }
    }
    kinds.sort_unstable_by_key(|kind| *kind as i32);
    kinds.dedup();
    if kinds.is_empty() {
        return Err(invalid("kinds", "", "say what is to be removed"));
    }
    let filter = unused::filter(request.filter, !kinds.contains(&PruneKind::Volumes))?;
    let labelled = !filter.labels.is_empty() || !filter.without_labels.is_empty();
    if labelled && kinds.contains(&PruneKind::BuildCache) {
        let mend = "the build cache has no labels: leave them out, or the build cache";
        return Err(invalid("filter", "", mend));
    }
    let steps = kinds.into_iter().map(|kind| Step {
        kind,
        filter: filter.clone(),
        wide: match kind {
            PruneKind::Images => request.named_images,
            PruneKind::Volumes => request.named_volumes,
            PruneKind::BuildCache => request.all_build_cache,
            PruneKind::Unspecified | PruneKind::Containers | PruneKind::Networks => false,
        },
    });
    Ok(steps.collect())
}

impl Step {
    pub(super) async fn run(self, engine: &Engine) -> Result<PruneResponse, Status> {
        let Self { kind, filter, wide } = self;
        let pruned = match kind {
            PruneKind::Containers => engine.prune_containers(&filter).await,
            PruneKind::Networks => engine.prune_networks(&filter).await,
            PruneKind::Images => {
                let images = engine.prune_images(&filter, wide).await;
                images.map(|images| Pruned {
                    removed: [images.untagged, images.deleted].concat(),
                    bytes: images.bytes,
                })
            }
            PruneKind::Volumes => engine.prune_volumes(&filter, wide).await,
            PruneKind::BuildCache => engine.prune_build_cache(age(&filter), wide).await,
            PruneKind::Unspecified => Ok(Pruned::default()),
        };
        let pruned = pruned.map_err(error::docker)?;
        let removed_count = pruned.removed.len().try_into().unwrap_or(u32::MAX);
        let mut removed = pruned.removed;
        removed.truncate(TOLD);
        Ok(PruneResponse {
            kind: kind.into(),
            removed,
            removed_count,
            reclaimed_bytes: pruned.bytes,
        })
    }
}

/// How old the build cache must be: the engine takes no time of day for that.
fn age(filter: &PruneFilter) -> Option<Duration> {
    let before = u64::try_from(filter.created_before?).unwrap_or(0);
    let before = SystemTime::UNIX_EPOCH + Duration::from_nanos(before);
    Some(SystemTime::now().duration_since(before).unwrap_or_default())
}
