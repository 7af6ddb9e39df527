//! The engine's calls about containers.
//!
//! A change that was sent and not answered is never called failed: the container is looked at
//! again, and what was seen decides.

use std::{collections::HashMap, time::Duration};

use bollard::{
    models::{
        ContainerCreateBody, ContainerInspectResponse, HostConfig, PortBinding, RestartPolicy,
        RestartPolicyNameEnum,
    },
    query_parameters::{
        CreateContainerOptions, InspectContainerOptions, InspectNetworkOptions,
        ListContainersOptions,
    },
};
use tokio::time::timeout;

use super::{
    ask::Ask,
    container::{Container, Detail, Port, Restart, State},
    engine::Engine,
    error::{Error, Subject},
    names::{ContainerName, ContainerRef, ImageRef, NetworkName},
    podman,
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

/// A container to be made.
#[derive(Clone)]
pub struct NewContainer {
    /// None: the engine chooses.
    pub name: Option<ContainerName>,
    /// On the host already.
    pub image: ImageRef,
    /// Empty: the image's.
    pub entrypoint: Vec<String>,
    /// Empty: the image's.
    pub command: Vec<String>,
    /// Names and values.
    pub environment: Vec<(String, String)>,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// Empty: the image's.
    pub working_dir: String,
    /// Empty: the image's.
    pub user: String,
    /// With a terminal.
    pub tty: bool,
    /// Standard input stays open.
    pub stdin_open: bool,
    /// To publish.
    pub ports: Vec<Port>,
    /// When it is started again.
    pub restart: Restart,
    /// None: the engine's default.
    pub network: Option<NetworkName>,
    /// Removed when it ends.
    pub auto_remove: bool,
    /// None: no limit.
    pub memory_bytes: Option<i64>,
    /// None: no limit. In thousandths of a processor.
    pub cpu_milli: Option<u32>,
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
        if self.transport().known.is_podman() {
            let path = format!("/containers/{container}/json");
            return podman::inspected(self.ask(Ask::get(&path, Subject::Container(name))).await?);
        }
        let call = self
            .docker()
            .inspect_container(name, None::<InspectContainerOptions>);
        self.call(Subject::Container(name), call).await
    }

    /// Makes a container. Returns its id, and what the engine warned of.
    pub async fn create(&self, new: NewContainer) -> Result<(String, Vec<String>), Error> {
        let subject = Subject::Creation {
            name: new.name.as_ref().map(ContainerName::as_str),
            image: new.image.as_str(),
            network: new.network.as_ref().map(NetworkName::as_str),
        };
        if let Some(network) = &new.network
            && !matches!(network.as_str(), "none" | "host" | "bridge" | "default")
        {
            // The engine would notice only at the start.
            let call = self
                .docker()
                .inspect_network(network.as_str(), None::<InspectNetworkOptions>);
            self.call(subject, call).await?;
        }
        let options = CreateContainerOptions {
            name: new.name.as_ref().map(ToString::to_string),
            ..CreateContainerOptions::default()
        };
        let call = self
            .docker()
            .create_container(Some(options), new.clone().into());
        match self.call(subject, call).await {
            Ok(created) => Ok((created.id, created.warnings)),
            Err(Error::NoAnswer { .. }) => {
                let container = new.name.map(|name| name.to_string()).unwrap_or_default();
                let seen = match container.parse() {
                    Ok(named) => self.look(&named).await,
                    Err(_) => Seen::Nothing,
                };
                Err(seen.unknown(container))
            }
            Err(error) => Err(error),
        }
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

    async fn change(
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
    async fn settle(
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

    async fn look(&self, container: &ContainerRef) -> Seen {
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
        if own == Some(0) && self.transport().known.is_podman() {
            let query = format!("?t={}", podman::GRACE.as_secs());
            return Ok((query, podman::GRACE + margin));
        }
        let own = own.map_or(DEFAULT_GRACE, |own| {
            // Below zero the engine waits for ever.
            Duration::from_secs(u64::try_from(own).unwrap_or(24 * 3600))
        });
        Ok((String::new(), own + margin))
    }
}

/// What was seen of a container after a change that was not answered.
enum Seen {
    Container(Box<Detail>),
    /// There is no such container.
    Absent,
    /// It could not be looked at.
    Nothing,
}

impl Seen {
    fn state(&self) -> Option<State> {
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

    fn unknown(&self, container: String) -> Error {
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

impl From<NewContainer> for ContainerCreateBody {
    fn from(new: NewContainer) -> Self {
        let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
        let text = |text: String| (!text.is_empty()).then_some(text);
        let mut bindings = HashMap::<String, Option<Vec<PortBinding>>>::new();
        for port in &new.ports {
            let key = format!("{}/{}", port.container_port, port.protocol);
            let host_port = match port.host_port {
                0 => String::new(),
                port => port.to_string(),
            };
            let binding = PortBinding {
                host_ip: Some(port.host_ip.clone()),
                host_port: Some(host_port),
            };
            bindings
                .entry(key)
                .or_default()
                .get_or_insert_default()
                .push(binding);
        }
        let (policy, most) = match new.restart {
            Restart::No => (RestartPolicyNameEnum::NO, 0),
            Restart::Always => (RestartPolicyNameEnum::ALWAYS, 0),
            Restart::OnFailure(most) => (RestartPolicyNameEnum::ON_FAILURE, most),
            Restart::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, 0),
        };
        Self {
            image: Some(new.image.to_string()),
            entrypoint: some(new.entrypoint),
            cmd: some(new.command),
            env: some(
                new.environment
                    .into_iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect(),
            ),
            labels: Some(new.labels),
            working_dir: text(new.working_dir),
            user: text(new.user),
            tty: Some(new.tty),
            open_stdin: Some(new.stdin_open),
            exposed_ports: some(bindings.keys().cloned().collect()),
            host_config: Some(HostConfig {
                port_bindings: Some(bindings),
                restart_policy: Some(RestartPolicy {
                    name: Some(policy),
                    maximum_retry_count: Some(i64::from(most)),
                }),
                network_mode: new.network.map(|network| network.to_string()),
                auto_remove: Some(new.auto_remove),
                memory: new.memory_bytes,
                nano_cpus: new.cpu_milli.map(|milli| i64::from(milli) * 1_000_000),
                ..HostConfig::default()
            }),
            ..Self::default()
        }
    }
}
