//! Changes of a container that is there, and waiting for its end.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    ask::{Ask, nullable},
    container::{Restart, State},
    containers::{Change, Seen},
    engine::Engine,
    error::{Error, Subject},
    names::{ContainerName, ContainerRef, NameError},
};

/// Limits. What is none is the engine's default at creation, and stays in an update.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Resources {
    pub memory_bytes: Option<i64>,
    pub memory_reservation_bytes: Option<i64>,
    /// -1: no limit.
    pub memory_swap_bytes: Option<i64>,
    pub memory_swappiness: Option<u32>,
    pub cpu_milli: Option<u32>,
    pub cpu_shares: Option<u32>,
    pub cpu_period_us: Option<u32>,
    pub cpu_quota_us: Option<i64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    /// -1: no limit.
    pub pids: Option<i64>,
    pub blkio_weight: Option<u32>,
}

impl Resources {
    /// As the engine has them.
    pub(super) fn json(&self) -> Map<String, Value> {
        let nano = self.cpu_milli.map(|milli| i64::from(milli) * 1_000_000);
        let values = [
            ("Memory", self.memory_bytes.map(Value::from)),
            (
                "MemoryReservation",
                self.memory_reservation_bytes.map(Value::from),
            ),
            ("MemorySwap", self.memory_swap_bytes.map(Value::from)),
            ("MemorySwappiness", self.memory_swappiness.map(Value::from)),
            ("NanoCpus", nano.map(Value::from)),
            ("CpuShares", self.cpu_shares.map(Value::from)),
            ("CpuPeriod", self.cpu_period_us.map(Value::from)),
            ("CpuQuota", self.cpu_quota_us.map(Value::from)),
            ("CpusetCpus", self.cpuset_cpus.clone().map(Value::from)),
            ("CpusetMems", self.cpuset_mems.clone().map(Value::from)),
            ("PidsLimit", self.pids.map(Value::from)),
            ("BlkioWeight", self.blkio_weight.map(Value::from)),
        ];
        let set = values
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        set.collect()
    }
}

impl Restart {
    /// As the engine has it.
    pub(super) fn json(self) -> Value {
        let (name, most) = match self {
            Self::No => ("no", 0),
            Self::Always => ("always", 0),
            Self::OnFailure(most) => ("on-failure", most),
            Self::UnlessStopped => ("unless-stopped", 0),
        };
        json!({ "Name": name, "MaximumRetryCount": most })
    }
}

/// What a container is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// That it does not run.
    NotRunning,
    /// That it ends the next time.
    NextExit,
    /// That it is removed.
    Removed,
}

impl Engine {
    /// Freezes a container.
    pub async fn pause(&self, container: &ContainerRef) -> Result<Change, Error> {
        self.freeze(container, "pause", State::Paused).await
    }

    /// Lets a frozen container go on.
    pub async fn unpause(&self, container: &ContainerRef) -> Result<Change, Error> {
        self.freeze(container, "unpause", State::Running).await
    }

    /// Engines say differently that it is so already, or that it cannot be.
    async fn freeze(
        &self,
        container: &ContainerRef,
        change: &str,
        wanted: State,
    ) -> Result<Change, Error> {
        let path = format!("/containers/{container}/{change}");
        let deadline = self.deadlines().call;
        let sent = self.change("POST", &path, container, deadline).await;
        let message = match sent {
            Err(Error::StateConflict { message, .. } | Error::Failed { message, .. }) => message,
            sent => {
                let reached = |seen: &Seen| seen.state() == Some(wanted);
                return self.settle(container, sent, reached).await;
            }
        };
        if self.container(container).await?.container.state == wanted {
            return Ok(Change::Already);
        }
        let container = container.to_string();
        Err(Error::StateConflict { container, message })
    }

    /// Gives a container another name.
    pub async fn rename(
        &self,
        container: &ContainerRef,
        name: &ContainerName,
    ) -> Result<(), Error> {
        let seen = self.container(container).await?.container;
        if seen.name == name.as_str() {
            return Ok(());
        }
        let path = format!("/containers/{container}/rename?name={name}");
        let subject = Subject::Container(container.as_str());
        match self.order(Ask::post(&path, "", subject)).await {
            Err(Error::StateConflict { message, .. }) if message.contains("already in use") => {
                let name = name.to_string();
                Err(Error::NameInUse { name })
            }
            // It has another name now, or it has not.
            Err(Error::NoAnswer { .. }) => match self.container(&own_id(&seen.id)?).await {
                Ok(now) if now.container.name == name.as_str() => Ok(()),
                Ok(now) => Err(Error::OutcomeUnknown {
                    container: container.to_string(),
                    observed: now.container.state.as_str().to_owned(),
                }),
                Err(_) => Err(Error::OutcomeUnknown {
                    container: container.to_string(),
                    observed: String::new(),
                }),
            },
            sent => sent,
        }
    }

    /// Changes limits and the restart policy. Returns what the engine warned of.
    pub async fn update(
        &self,
        container: &ContainerRef,
        resources: &Resources,
        restart: Option<Restart>,
    ) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Updated {
            #[serde(default, deserialize_with = "nullable")]
            warnings: Vec<String>,
        }
        let mut body = resources.json();
        if let Some(restart) = restart {
            body.insert("RestartPolicy".to_owned(), restart.json());
        }
        let body = Value::from(body).to_string();
        let path = format!("/containers/{container}/update");
        let subject = Subject::Container(container.as_str());
        let updated: Result<Updated, _> = self.ask(Ask::post(&path, &body, subject)).await;
        match updated {
            Ok(updated) => Ok(updated.warnings),
            // An update that is made again changes nothing more.
            Err(Error::NoAnswer { .. }) => Err(Error::OutcomeUnknown {
                container: container.to_string(),
                observed: String::new(),
            }),
            Err(error) => Err(error),
        }
    }

    /// Waits for a container, as long as the engine is there. Returns its exit code, and the engine's error of its end.
    pub async fn wait(
        &self,
        container: &ContainerRef,
        until: Until,
    ) -> Result<(i32, String), Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Waited {
            status_code: i64,
            #[serde(default, deserialize_with = "nullable")]
            error: Failure,
        }
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "PascalCase", default)]
        struct Failure {
            message: String,
        }
        // The container itself: another one may get its name.
        let id = own_id(&self.container(container).await?.container.id)?;
        let condition = match until {
            Until::NotRunning => "not-running",
            Until::NextExit => "next-exit",
            Until::Removed => "removed",
        };
        let path = format!("/containers/{id}/wait?condition={condition}");
        let subject = Subject::Container(container.as_str());
        let waited: Waited = self.ask(Ask::post(&path, "", subject).long()).await?;
        let code = i32::try_from(waited.status_code).unwrap_or(-1);
        Ok((code, waited.error.message))
    }
}

/// The id that the engine gave.
pub(super) fn own_id(id: &str) -> Result<ContainerRef, Error> {
    id.parse()
        .map_err(|error: NameError| Error::Protocol(error.to_string()))
}
