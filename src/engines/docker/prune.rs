//! Removing what is not used. The engine says only at its end what it has removed, and takes its time.

use std::{collections::HashMap, time::Duration};

use serde::Deserialize;

use super::{
    ask::{Ask, Filters, nullable},
    engine::Engine,
    error::{Error, Subject},
    version::ApiVersion,
};

/// Which of what is not used.
#[derive(Debug, Clone, Default)]
pub struct PruneFilter {
    /// With all of these labels; an empty value fits any.
    pub labels: HashMap<String, String>,
    /// With none of these.
    pub without_labels: HashMap<String, String>,
    /// Created before, in nanoseconds since the Unix epoch.
    pub created_before: Option<i64>,
}

impl PruneFilter {
    pub(super) fn filters(&self) -> Filters {
        let mut filters = Filters::default();
        filters.labels("label", &self.labels);
        filters.labels("label!", &self.without_labels);
        if let Some(nanos) = self.created_before {
            let (seconds, nanos) = (
                nanos.div_euclid(1_000_000_000),
                nanos.rem_euclid(1_000_000_000),
            );
            filters.add("until", format!("{seconds}.{nanos:09}"));
        }
        filters
    }
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids, or names of what is named.
    pub removed: Vec<String>,
    /// The room that it took.
    pub bytes: u64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    #[serde(
        alias = "NetworksDeleted",
        alias = "VolumesDeleted",
        alias = "ContainersDeleted",
        alias = "CachesDeleted",
        deserialize_with = "nullable"
    )]
    deleted: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    space_reclaimed: u64,
}

impl Engine {
    /// Removes networks that nothing is attached to.
    pub async fn prune_networks(&self, filter: &PruneFilter) -> Result<Pruned, Error> {
        self.prune("networks", &filter.filters()).await
    }

    /// Removes volumes that no container has: also those with a name, or anonymous ones only.
    pub async fn prune_volumes(&self, filter: &PruneFilter, named: bool) -> Result<Pruned, Error> {
        const TELLS_APART: ApiVersion = ApiVersion::new(1, 42);
        let mut filters = filter.filters();
        let told_apart = self.needs("removing anonymous volumes only", TELLS_APART);
        match told_apart.await {
            Ok(()) if named => filters.add("all", "true"),
            Err(Error::TooOld { .. }) if named => {}
            Ok(()) => {}
            Err(error) => return Err(error),
        }
        self.prune("volumes", &filters).await
    }

    /// Removes containers that do not run.
    pub async fn prune_containers(&self, filter: &PruneFilter) -> Result<Pruned, Error> {
        self.prune("containers", &filter.filters()).await
    }

    /// Removes the build cache that no build uses now, that of this age or older.
    pub async fn prune_build_cache(
        &self,
        older: Option<Duration>,
        all: bool,
    ) -> Result<Pruned, Error> {
        let mut filters = Filters::default();
        if let Some(older) = older {
            filters.add("until", format!("{}s", older.as_secs()));
        }
        let path = format!("/build/prune?all={all}&{}", filters.query());
        self.pruned(&path).await
    }

    async fn prune(&self, what: &str, filters: &Filters) -> Result<Pruned, Error> {
        let path = format!("/{what}/prune?{}", filters.query());
        self.pruned(&path).await
    }

    async fn pruned(&self, path: &str) -> Result<Pruned, Error> {
        let ask = Ask::post(path, "", Subject::Engine).long();
        let Answer {
            deleted,
            space_reclaimed,
        } = self.ask(ask).await?;
        Ok(Pruned {
            removed: deleted,
            bytes: space_reclaimed,
        })
    }
}
