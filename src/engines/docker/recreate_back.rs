//! The way back of a recreation: from a failure, and from what an agent that died has left.

use std::collections::HashMap;

use super::{
    container::State,
    engine::Engine,
    error::Error,
    names::{ContainerName, ContainerRef},
    progress::{Step, Tell},
    recreate_settings::MARK,
};

/// Holds a name while its container is recreated.
pub(super) struct Held<'a> {
    engine: &'a Engine,
    name: String,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.engine.recreating().remove(&self.name);
    }
}

/// The two containers.
pub(super) struct Pair {
    pub(super) name: ContainerName,
    pub(super) old: ContainerRef,
    pub(super) new: ContainerRef,
    pub(super) ran: bool,
}

impl Engine {
    /// One recreation of a container at a time: two would take each other back.
    pub(super) async fn hold(&self, container: &ContainerRef) -> Result<Held<'_>, Error> {
        let name = match self.container(container).await {
            Ok(seen) => seen.container.name,
            Err(Error::ContainerNotFound { .. }) => container.to_string(),
            Err(error) => return Err(error),
        };
        let beside = |name: &str| {
            let (before, after) = name.rsplit_once('.')?;
            let id = after.strip_prefix("old-").or(after.strip_prefix("new-"))?;
            (id.len() == 12).then(|| before.to_owned())
        };
        let name = beside(&name).unwrap_or(name);
        if self.recreating().insert(name.clone()) {
            return Ok(Held { engine: self, name });
        }
        Err(Error::StateConflict {
            container: container.to_string(),
            message: "it is being recreated: wait until that has ended, or cancel it".to_owned(),
        })
    }

    /// The way back, from wherever it was left.
    pub(super) async fn take_back(&self, pair: &Pair) -> Result<(), Error> {
        match self.remove(&pair.new, true, false).await {
            Ok(()) | Err(Error::ContainerNotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let old = self.container(&pair.old).await?;
        if old.container.name != pair.name.as_str() {
            self.rename(&pair.old, &pair.name).await?;
        }
        if pair.ran && old.container.state != State::Running {
            self.start(&pair.old).await?;
        }
        Ok(())
    }

    /// Takes back what an agent that died has left in the middle, when this container is a part of it.
    pub(super) async fn take_back_left(
        &self,
        container: &ContainerRef,
        tell: Tell<'_>,
    ) -> Result<(), Error> {
        let marked = HashMap::from([(MARK.to_owned(), String::new())]);
        for new in self.containers(true, &marked).await? {
            let mark = new.labels.get(MARK).map(String::as_str).unwrap_or_default();
            let Some((old, ran)) = mark.split_once(' ') else {
                continue;
            };
            let (Ok(old), Ok(new_id)) = (old.parse::<ContainerRef>(), new.id.parse()) else {
                continue;
            };
            // Without the old one, all was done.
            let Ok(before) = self.container(&old).await else {
                continue;
            };
            let name = before.container.name.as_str();
            let name = match name.rsplit_once(&format!(".old-{}", short(&old))) {
                Some((name, "")) => name,
                _ => name,
            };
            let asked = container.as_str();
            let meant = asked == name
                || asked == new.name
                || (asked.len() >= 12
                    && (old.as_str().starts_with(asked) || new.id.starts_with(asked)));
            let (true, Ok(name)) = (meant, name.parse()) else {
                continue;
            };
            tell(Step::said("taking back what was left in the middle before"));
            let ran = ran == "ran";
            let new = new_id;
            self.take_back(&Pair {
                name,
                old,
                new,
                ran,
            })
            .await?;
        }
        Ok(())
    }
}

pub(super) fn short(id: &ContainerRef) -> &str {
    id.as_str().get(..12).unwrap_or(id.as_str())
}
