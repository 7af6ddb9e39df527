//! The engine's calls about containers.
//!
//! A change that was sent and not answered is never called failed: the container is looked at
//! again, and what was seen decides.

use std::{collections::HashMap, time::Duration};

use bollard::{
    models::ContainerInspectResponse,
    query_parameters::{InspectContainerOptions, ListContainersOptions},
};
use tokio::time::timeout;

use super::{
    container::{Container, Detail, State},
    engine::Engine,
    error::{Error, Subject},
    names::ContainerRef,
    signal::Signal,
};

/// The engine's grace when neither the caller nor the container says one.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// Whether a change changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It did.
    Done,
    /// Everything was so already.
    Already,
}

impl Engine {
    /// Containers with all of these labels (an empty value fits any), in the engine's order.
    pub async fn containers(
        &self,
        all: bool,
        labels: &HashMap<String, String>,
    ) -> Result<Vec<Container>, Error> {
        let labels = labels.iter().map(|(key, value)| match value.as_str() {
            "" => key.clone(),
            value => format!("{key}={value}"),
        });
        let options = ListContainersOptions {
            all,
            filters: Some(HashMap::from([("label".to_owned(), labels.collect())])),
            ..ListContainersOptions::default()
        };
        let call = self.docker().list_containers(Some(options));
        let listed = self.call(Subject::Engine, call).await?;
        Ok(listed.into_iter().map(Container::from).collect())
    }

    /// Everything of one container.
    pub async fn container(&self, container: &ContainerRef) -> Result<Detail, Error> {
        Ok(self.inspect(container).await?.into())
    }

    pub(super) async fn inspect(
        &self,
        container: &ContainerRef,
    ) -> Result<ContainerInspectResponse, Error> {
        let name = container.as_str();
        let call = self
            .docker()
            .inspect_container(name, None::<InspectContainerOptions>);
        self.call(Subject::Container(name), call).await
    }

    /// Starts a container.
    pub async fn start(&self, container: &ContainerRef) -> Result<Change, Error> {
        let path = format!("/containers/{container}/start");
        let deadline = self.deadlines().call;
        let sent = self.change("POST", &path, container, deadline).await;
        self.settle(container, sent, |seen| seen.state() == Some(State::Running))
            .await
    }

    /// Stops a container: its stop signal, then SIGKILL after the grace.
    pub async fn stop(
        &self,
        container: &ContainerRef,
        grace: Option<Duration>,
    ) -> Result<Change, Error> {
        let (query, deadline) = self.grace(container, grace).await?;
        let path = format!("/containers/{container}/stop{query}");
        let sent = self.change("POST", &path, container, deadline).await;
        self.settle(container, sent, Seen::is_stopped).await
    }

    /// Stops and starts a container.
    pub async fn restart(
        &self,
        container: &ContainerRef,
        grace: Option<Duration>,
    ) -> Result<(), Error> {
        let before = self.container(container).await?.started;
        let (query, deadline) = self.grace(container, grace).await?;
        let path = format!("/containers/{container}/restart{query}");
        let sent = self.change("POST", &path, container, deadline).await;
        let again = |seen: &Seen| match seen {
            Seen::Container(now) => now.container.state == State::Running && now.started != before,
            Seen::Absent | Seen::Nothing => false,
        };
        self.settle(container, sent, again).await.map(drop)
    }

    /// Sends a signal to the container's first process.
    pub async fn kill(&self, container: &ContainerRef, signal: Signal) -> Result<(), Error> {
        let path = format!("/containers/{container}/kill?signal={}", signal.number());
        let deadline = self.deadlines().call;
        let sent = self.change("POST", &path, container, deadline).await;
        // Whether another signal arrived cannot be seen.
        let killed = |seen: &Seen| signal == Signal::KILL && seen.is_stopped();
        self.settle(container, sent, killed).await.map(drop)
    }

    /// Removes a container.
    pub async fn remove(
        &self,
        container: &ContainerRef,
        force: bool,
        volumes: bool,
    ) -> Result<(), Error> {
        let path = format!("/containers/{container}?force={force}&v={volumes}");
        let deadline = self.deadlines().call;
        let sent = self.change("DELETE", &path, container, deadline).await;
        let removed = |seen: &Seen| matches!(seen, Seen::Absent);
        self.settle(container, sent, removed).await.map(drop)
    }

    pub(super) async fn change(
        &self,
        method: &'static str,
        path: &str,
        container: &ContainerRef,
        deadline: Duration,
    ) -> Result<Change, Error> {
        let subject = Subject::Container(container.as_str());
        match self.send(method, path, subject, deadline).await? {
            304 => Ok(Change::Already),
            _ => Ok(Change::Done),
        }
    }

    /// Looks again when nothing was answered: what is seen is the outcome.
    pub(super) async fn settle(
        &self,
        container: &ContainerRef,
        sent: Result<Change, Error>,
        reached: impl Fn(&Seen) -> bool,
    ) -> Result<Change, Error> {
        let Err(Error::NoAnswer { .. }) = sent else {
            return sent;
        };
        let seen = self.look(container).await;
        if reached(&seen) {
            return Ok(Change::Done);
        }
        Err(seen.unknown(container.to_string()))
    }

    pub(super) async fn look(&self, container: &ContainerRef) -> Seen {
        match timeout(self.deadlines().probe, self.container(container)).await {
            Ok(Ok(detail)) => Seen::Container(Box::new(detail)),
            Ok(Err(Error::ContainerNotFound { .. })) => Seen::Absent,
            Ok(Err(_)) | Err(_) => Seen::Nothing,
        }
    }

    /// The grace as the engine's query, and how long the call may take with it.
    async fn grace(
        &self,
        container: &ContainerRef,
        grace: Option<Duration>,
    ) -> Result<(String, Duration), Error> {
        let margin = self.deadlines().stop_margin;
        if let Some(grace) = grace {
            // The engine counts in seconds; a part of one is a whole one.
            let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
            let query = format!("?t={seconds}");
            return Ok((query, Duration::from_secs(seconds) + margin));
        }
        let own = self.container(container).await?.stop_timeout;
        let own = own.map_or(DEFAULT_GRACE, |own| {
            // Below zero the engine waits for ever.
            Duration::from_secs(u64::try_from(own).unwrap_or(24 * 3600))
        });
        Ok((String::new(), own + margin))
    }
}

/// What was seen of a container after a change that was not answered.
pub(super) enum Seen {
    Container(Box<Detail>),
    /// There is no such container.
    Absent,
    /// It could not be looked at.
    Nothing,
}

impl Seen {
    pub(super) fn state(&self) -> Option<State> {
        match self {
            Self::Container(detail) => Some(detail.container.state),
            Self::Absent | Self::Nothing => None,
        }
    }

    /// It does not run. One that is removed when it ends is absent then.
    fn is_stopped(&self) -> bool {
        match self {
            Self::Container(detail) => matches!(
                detail.container.state,
                State::Exited | State::Created | State::Dead
            ),
            Self::Absent => true,
            Self::Nothing => false,
        }
    }

    pub(super) fn unknown(&self, container: String) -> Error {
        let observed = match self {
            Self::Container(detail) => detail.container.state.as_str(),
            Self::Absent => "absent",
            Self::Nothing => "",
        };
        Error::OutcomeUnknown {
            container,
            observed: observed.to_owned(),
        }
    }
}
