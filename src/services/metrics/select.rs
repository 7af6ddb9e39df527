//! Which containers a caller asks for: by name, id or the beginning of an id.

use std::{collections::HashSet, sync::Arc};

use tonic::{Code, Status};

use super::super::{
    container::container_ref,
    error::{self, invalid, status},
};
use crate::{
    engines::{
        docker::{self, Engine, names::ContainerRef},
        metrics::{ContainerRow, ContainerSample},
    },
    proto::ErrorReason,
};

/// Containers that can be named in one request.
const MOST: usize = 1000;

/// Containers by what they are called; none means all.
#[derive(Clone, Debug)]
pub(super) struct Selection(Vec<ContainerRef>);

/// What a name fits.
enum Fit<'a> {
    One(&'a ContainerRow),
    None,
    Many,
}

impl Selection {
    pub(super) fn parse(names: &[String]) -> Result<Self, Status> {
        if names.len() > MOST {
            let given = names.len().to_string();
            return Err(invalid(
                "containers",
                &given,
                "name 1000 at most, or none for all",
            ));
        }
        let parsed = names.iter().map(|name| container_ref(name));
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// The ids of those that run.
    pub(super) fn running(&self, sample: &ContainerSample) -> Vec<Arc<str>> {
        if self.0.is_empty() {
            return sample.rows.iter().map(|row| Arc::clone(&row.id)).collect();
        }
        let found = self
            .0
            .iter()
            .filter_map(|name| match fit(name, &sample.rows) {
                Fit::One(row) => Some(Arc::clone(&row.id)),
                Fit::None | Fit::Many => None,
            });
        found.collect()
    }

    /// The ids of all of them, which must run.
    pub(super) async fn all(
        &self,
        engine: &Engine,
        sample: &ContainerSample,
    ) -> Result<HashSet<Arc<str>>, Status> {
        let mut ids = HashSet::new();
        if self.0.is_empty() {
            ids.extend(self.running(sample));
        }
        for name in &self.0 {
            let row = match fit(name, &sample.rows) {
                Fit::One(row) => row,
                Fit::Many => return Err(ambiguous(name)),
                Fit::None => {
                    let found = engine.container(name).await.map_err(error::docker)?;
                    // It may have got another name since the containers were listed.
                    let same = |row: &&ContainerRow| *row.id == *found.container.id;
                    sample
                        .rows
                        .iter()
                        .find(same)
                        .ok_or_else(|| not_running(name))?
                }
            };
            ids.insert(Arc::clone(&row.id));
        }
        Ok(ids)
    }

    /// Whether the engine knows all of them, or `kept` has those that it knows no more.
    pub(super) async fn exists(
        &self,
        engine: &Engine,
        kept: impl Fn() -> Vec<ContainerRow> + Send + Sync,
    ) -> Result<(), Status> {
        let mut ran = None;
        for name in &self.0 {
            let Err(unknown) = engine.container(name).await else {
                continue;
            };
            if !matches!(unknown, docker::Error::ContainerNotFound { .. })
                || matches!(fit(name, ran.get_or_insert_with(&kept)), Fit::None)
            {
                return Err(error::docker(unknown));
            }
        }
        Ok(())
    }
}

/// In the engine's order: the full id, the name, the beginning of one id.
fn fit<'a>(name: &ContainerRef, rows: &'a [ContainerRow]) -> Fit<'a> {
    let name = name.as_str();
    let exact = |row: &&ContainerRow| *row.id == *name;
    let named = |row: &&ContainerRow| *row.name == *name;
    let rows = rows.iter();
    if let Some(row) = rows
        .clone()
        .find(exact)
        .or_else(|| rows.clone().find(named))
    {
        return Fit::One(row);
    }
    let mut begin = rows.filter(|row| row.id.starts_with(name));
    match (begin.next(), begin.next()) {
        (None, _) => Fit::None,
        (Some(row), None) => Fit::One(row),
        (Some(_), Some(_)) => Fit::Many,
    }
}

fn ambiguous(name: &ContainerRef) -> Status {
    let container = name.to_string();
    error::docker(docker::Error::Ambiguous { container })
}

fn not_running(name: &ContainerRef) -> Status {
    status(
        Code::FailedPrecondition,
        ErrorReason::ContainerNotRunning,
        format!(
            "container {name} does not run, so that there is nothing to measure: start it first"
        ),
        &[("container", name.as_str())],
    )
}
