//! What of the things that are not used is to be removed.

use tonic::Status;

use super::{error, labels, time};
use crate::{engines::docker::prune, proto};

/// Parses a filter. Volumes have no age that could be asked for.
pub(super) fn filter(
    filter: Option<proto::PruneFilter>,
    aged: bool,
) -> Result<prune::PruneFilter, Status> {
    let filter = filter.unwrap_or_default();
    labels::check(&filter.labels)?;
    labels::check(&filter.without_labels)?;
    let created_before = filter
        .created_before
        .map(|before| time::nanos("created_before", &before));
    let created_before = created_before.transpose()?;
    if created_before.is_some() && !aged {
        return Err(error::invalid(
            "created_before",
            "",
            "volumes cannot be chosen by age: leave it out",
        ));
    }
    Ok(prune::PruneFilter {
        labels: filter.labels,
        without_labels: filter.without_labels,
        created_before,
    })
}
