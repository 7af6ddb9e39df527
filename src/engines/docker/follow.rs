//! Which containers' logs are meant, and notice when that may have changed.
//!
//! The engine's events say when: what has changed is then read from its list, so that an event that was missed, or is
//! called otherwise by another engine, does no harm.

use std::collections::HashMap;

use bytes::BytesMut;

use super::{
    attended::Attended,
    container::{Container, SERVICE, State},
    engine::Engine,
    error::{Error, Subject},
    logs::LogRequest,
    names::ContainerRef,
    position::Position,
    stream::{Stream, StreamRequest},
};

/// `{"type":["container"],"event":[…]}`, as a query has it. Health checks, which run all the time, are left out.
const EVENTS: &str = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22create%22%2C%22start%22%2C%22restart%22%2C%22die%22%2C%22died%22%2C%22destroy%22%2C%22remove%22%2C%22rename%22%5D%7D";

/// Longer events are not read.
const MAX_EVENT: usize = 4 << 20;

/// Which containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Those with these names, ids or beginnings of ids; each must be there.
    Names(Vec<ContainerRef>),
    /// Those with all of these labels; an empty value fits any. Without labels: all.
    Labels(HashMap<String, String>),
    /// Of those with all of these labels, the ones of these services of a compose project.
    Services(HashMap<String, String>, Vec<String>),
}

/// Which logs, and which part of them.
#[derive(Debug, Clone)]
pub struct MergeRequest {
    /// Whose.
    pub selection: Selection,
    /// Goes on with what comes, of containers that come, too.
    pub follow: bool,
    /// Only so many of the last stored lines of all.
    pub tail: Option<u32>,
    /// From this time on, in nanoseconds since the Unix epoch.
    pub since: Option<i64>,
    /// Before this time.
    pub until: Option<i64>,
    /// With standard output.
    pub stdout: bool,
    /// With standard error.
    pub stderr: bool,
    /// Places to go on from, by the first digits of the containers' ids.
    pub places: Option<HashMap<String, Position>>,
}

impl Selection {
    /// The same, and what was found by it before: a container that has another name by now stays.
    pub(super) fn and_found(&self, found: impl Iterator<Item = ContainerRef>) -> Self {
        match self {
            Self::Names(names) => Self::Names(names.iter().cloned().chain(found).collect()),
            labels => labels.clone(),
        }
    }
}

impl MergeRequest {
    /// The part of one container's log.
    pub fn of(&self, container: ContainerRef, follow: bool) -> LogRequest {
        LogRequest {
            container,
            follow,
            tail: None,
            since: self.since,
            until: self.until,
            stdout: self.stdout,
            stderr: self.stderr,
        }
    }
}

/// The containers that are selected now.
#[derive(Debug)]
pub struct Selected {
    /// Running or not.
    pub containers: Vec<Container>,
    /// A name that no container has.
    pub missing: Option<ContainerRef>,
}

impl Engine {
    /// The containers that are selected now, running or not.
    pub async fn select(&self, selection: &Selection) -> Result<Selected, Error> {
        match selection {
            Selection::Labels(labels) => Ok(Selected {
                containers: self.containers(true, labels).await?,
                missing: None,
            }),
            Selection::Services(labels, services) => {
                let mut containers = self.containers(true, labels).await?;
                containers.retain(|one| {
                    let service = one.labels.get(SERVICE);
                    service.is_some_and(|service| services.contains(service))
                });
                Ok(Selected {
                    containers,
                    missing: None,
                })
            }
            Selection::Names(names) => {
                let all = self.containers(true, &HashMap::new()).await?;
                named(all, names)
            }
        }
    }

    /// Begins to notice changes of the engine's containers.
    pub(super) async fn changes(&self) -> Result<Changes, Error> {
        let request = StreamRequest {
            method: "GET",
            path: EVENTS,
            body: "",
            upgrade: false,
            subject: Subject::Engine,
            deadline: self.deadlines().call,
        };
        Ok(Changes {
            stream: Attended::new(self, Stream::open(self.transport(), request).await?),
            text: BytesMut::new(),
        })
    }
}

/// As the engine resolves a name: the name, else the id or its beginning.
fn named(all: Vec<Container>, names: &[ContainerRef]) -> Result<Selected, Error> {
    let (mut chosen, mut missing) = (vec![false; all.len()], None);
    for name in names {
        let by_name = all.iter().position(|one| one.name == name.as_str());
        let mut by_id = all
            .iter()
            .enumerate()
            .filter(|(_, one)| one.id.starts_with(name.as_str()))
            .map(|(at, _)| at);
        let found = match by_name {
            Some(at) => Some(at),
            None => match (by_id.next(), by_id.next()) {
                (Some(_), Some(_)) => {
                    return Err(Error::Ambiguous {
                        container: name.to_string(),
                    });
                }
                (one, _) => one,
            },
        };
        match found.and_then(|at| chosen.get_mut(at)) {
            Some(chosen) => *chosen = true,
            None => missing = Some(name.clone()),
        }
    }
    let mut chosen = chosen.into_iter();
    let mut containers = all;
    containers.retain(|_| chosen.next().unwrap_or_default());
    Ok(Selected {
        containers,
        missing,
    })
}

impl Container {
    /// It may print.
    pub fn runs(&self) -> bool {
        matches!(
            self.state,
            State::Running | State::Paused | State::Restarting
        )
    }
}

/// Notices changes of the engine's containers. Dropping it ends the engine's work for it.
#[derive(Debug)]
pub(super) struct Changes {
    stream: Attended,
    /// The beginning of an event.
    text: BytesMut,
}

impl Changes {
    /// Waits for changes, and returns whose they are, as far as they say it; an error when the engine does not tell any
    /// more. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Vec<String>, Error> {
        match self.stream.next().await? {
            Some(bytes) => Ok(self.ids(&bytes)),
            None => Err(self.stream.broke("it ended its events")),
        }
    }

    /// The ids in the events that have come whole.
    fn ids(&mut self, bytes: &[u8]) -> Vec<String> {
        self.text.extend_from_slice(bytes);
        let Some(last) = memchr::memrchr(b'\n', &self.text) else {
            // An event has all labels in it. One that is longer still says nothing, but that something has changed.
            if self.text.len() > MAX_EVENT {
                self.text.clear();
            }
            return Vec::new();
        };
        let events = self.text.split_to(last + 1);
        let events = events.as_ref().split(|byte: &u8| *byte == b'\n');
        events.filter_map(id).collect()
    }
}

/// The id in an event.
fn id(event: &[u8]) -> Option<String> {
    let event: serde_json::Value = serde_json::from_slice(event).ok()?;
    Some(event.get("id")?.as_str()?.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn container(id: &str, name: &str) -> Container {
        Container {
            id: id.to_owned(),
            name: name.to_owned(),
            image: String::new(),
            image_id: String::new(),
            state: State::Running,
            status: String::new(),
            created: None,
            command: Vec::new(),
            labels: HashMap::new(),
            ports: Vec::new(),
        }
    }

    #[test]
    fn names_go_before_ids_and_doubt_is_told() {
        let all = || {
            vec![
                container("abc1", "web"),
                container("abd2", "abc1"),
                container("ffff", "db"),
            ]
        };
        let select = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
            named(all(), &names).map(|selected| {
                let ids = selected.containers.into_iter().map(|one| one.id);
                (ids.collect::<Vec<_>>(), selected.missing)
            })
        };
        assert_eq!(select(&["web", "db"]).unwrap().0, ["abc1", "ffff"]);
        // Another container's name is this one's id.
        assert_eq!(select(&["abc1"]).unwrap().0, ["abd2"]);
        assert_eq!(select(&["abd", "abd2", "abd"]).unwrap().0, ["abd2"]);
        assert!(matches!(select(&["ab"]), Err(Error::Ambiguous { .. })));
        let (found, missing) = select(&["db", "nosuch"]).unwrap();
        assert_eq!((found.len(), missing.unwrap().as_str()), (1, "nosuch"));
    }
}
