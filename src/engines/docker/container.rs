//! What the engine says of a container, in types of the agent's own.

use std::collections::HashMap;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryStateEnum, PortMap, RestartPolicyNameEnum,
};

use super::time;

/// The label that compose gives the containers of a project: its name.
pub const PROJECT: &str = "com.docker.compose.project";
/// The label that compose gives them for the service that they are of.
pub const SERVICE: &str = "com.docker.compose.service";

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The engine's own words.
pub enum State {
    Unknown,
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

impl State {
    /// The engine's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

/// A port of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// In the container.
    pub container_port: u16,
    /// On the host. 0: not published, or chosen by the engine.
    pub host_port: u16,
    /// The host's address. Empty: all, or not published.
    pub host_ip: String,
    /// "tcp", "udp" or "sctp".
    pub protocol: String,
}

/// A container, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The full id.
    pub id: String,
    /// Without a slash.
    pub name: String,
    /// As it was named at creation.
    pub image: String,
    /// "sha256:…".
    pub image_id: String,
    /// What it does.
    pub state: State,
    /// The engine's words, in lists only.
    pub status: String,
    /// Nanoseconds since the Unix epoch.
    pub created: Option<i64>,
    /// The command line; in lists one text.
    pub command: Vec<String>,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// Published and exposed ports.
    pub ports: Vec<Port>,
}

/// When the engine starts a container again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Never.
    No,
    /// Always.
    Always,
    /// When the exit code is not 0, at most so often; 0 is no limit.
    OnFailure(u32),
    /// Always, unless it was stopped by hand.
    UnlessStopped,
}

/// Everything of a container.
#[derive(Clone, PartialEq, Eq)]
pub struct Detail {
    /// In short.
    pub container: Container,
    /// Nanoseconds since the Unix epoch. None when never.
    pub started: Option<i64>,
    /// Nanoseconds since the Unix epoch. None when never.
    pub finished: Option<i64>,
    /// The last exit code.
    pub exit_code: i32,
    /// The first process on the host, 0 when none.
    pub pid: u32,
    /// Memory ran out.
    pub oom_killed: bool,
    /// "starting", "healthy", "unhealthy" or empty.
    pub health: String,
    /// How often the engine has started it again.
    pub restart_count: u32,
    /// It has a terminal.
    pub tty: bool,
    /// Names and values, which may be secrets.
    pub environment: Vec<(String, String)>,
    /// When it is started again.
    pub restart: Restart,
    /// The working directory.
    pub working_dir: String,
    /// The user.
    pub user: String,
    /// The log driver.
    pub log_driver: String,
    /// The log driver's options.
    pub log_options: HashMap<String, String>,
    /// The log's file on the engine's host, if the engine tells of one.
    pub log_path: String,
    /// The file of name servers that the engine keeps for it on its host.
    pub resolv_conf_path: String,
    /// The engine's error of the last start.
    pub error: String,
    /// The entry point.
    pub entrypoint: Vec<String>,
    /// Networks by name.
    pub networks: Vec<String>,
    /// The grace of its own for stopping, in seconds.
    pub stop_timeout: Option<i64>,
}

impl std::fmt::Debug for Detail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detail")
            .field("container", &self.container)
            .finish_non_exhaustive()
    }
}

impl From<ContainerSummary> for Container {
    fn from(summary: ContainerSummary) -> Self {
        // Links make further names of the form /other/alias.
        let name = summary
            .names
            .unwrap_or_default()
            .into_iter()
            .find_map(|name| {
                let name = name.strip_prefix('/')?;
                (!name.contains('/')).then(|| name.to_owned())
            });
        let mut ports: Vec<Port> = summary
            .ports
            .unwrap_or_default()
            .into_iter()
            .map(|port| Port {
                container_port: port.private_port,
                host_port: port.public_port.unwrap_or_default(),
                host_ip: port.ip.unwrap_or_default(),
                protocol: port.typ.map(|typ| typ.to_string()).unwrap_or_default(),
            })
            .collect();
        ports.sort_unstable();
        Self {
            id: summary.id.unwrap_or_default(),
            name: name.unwrap_or_default(),
            image: summary.image.unwrap_or_default(),
            image_id: summary.image_id.unwrap_or_default(),
            state: summary.state.map_or(State::Unknown, list_state),
            status: summary.status.unwrap_or_default(),
            created: summary
                .created
                .and_then(|seconds| seconds.checked_mul(1_000_000_000)),
            command: summary.command.into_iter().collect(),
            labels: summary.labels.unwrap_or_default(),
            ports,
        }
    }
}

impl From<ContainerInspectResponse> for Detail {
    fn from(seen: ContainerInspectResponse) -> Self {
        let config = seen.config.unwrap_or_default();
        let host = seen.host_config.unwrap_or_default();
        let state = seen.state.unwrap_or_default();
        let network = seen.network_settings.unwrap_or_default();
        let log = host.log_config.unwrap_or_default();
        let moment = |text: Option<String>| time::parse(text?.as_bytes());
        let mut networks: Vec<String> = network.networks.unwrap_or_default().into_keys().collect();
        networks.sort_unstable();
        let command = seen.path.into_iter().chain(seen.args.unwrap_or_default());
        let container = Container {
            id: seen.id.unwrap_or_default(),
            name: seen
                .name
                .map(|name| name.trim_start_matches('/').to_owned())
                .unwrap_or_default(),
            image: config.image.unwrap_or_default(),
            image_id: seen.image.unwrap_or_default(),
            state: state.status.map_or(State::Unknown, own_state),
            status: String::new(),
            created: seen
                .created
                .and_then(|created| time::parse(created.as_bytes())),
            command: command.filter(|part| !part.is_empty()).collect(),
            labels: config.labels.unwrap_or_default(),
            ports: ports(
                network.ports.unwrap_or_default(),
                config.exposed_ports.unwrap_or_default(),
            ),
        };
        let health = state.health.and_then(|health| health.status);
        let health = health.map(|status| status.to_string()).unwrap_or_default();
        Self {
            container,
            started: moment(state.started_at),
            finished: moment(state.finished_at),
            exit_code: state
                .exit_code
                .and_then(|code| i32::try_from(code).ok())
                .unwrap_or_default(),
            pid: state
                .pid
                .and_then(|pid| u32::try_from(pid).ok())
                .unwrap_or_default(),
            oom_killed: state.oom_killed.unwrap_or_default(),
            health: if health == "none" {
                String::new()
            } else {
                health
            },
            restart_count: seen
                .restart_count
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or_default(),
            tty: config.tty.unwrap_or_default(),
            environment: config
                .env
                .unwrap_or_default()
                .into_iter()
                .map(|variable| match variable.split_once('=') {
                    Some((name, value)) => (name.to_owned(), value.to_owned()),
                    None => (variable, String::new()),
                })
                .collect(),
            restart: host.restart_policy.map_or(Restart::No, |policy| {
                let most = policy.maximum_retry_count.unwrap_or_default();
                match policy.name {
                    Some(RestartPolicyNameEnum::ALWAYS) => Restart::Always,
                    Some(RestartPolicyNameEnum::UNLESS_STOPPED) => Restart::UnlessStopped,
                    Some(RestartPolicyNameEnum::ON_FAILURE) => {
                        Restart::OnFailure(u32::try_from(most).unwrap_or_default())
                    }
                    Some(RestartPolicyNameEnum::NO | RestartPolicyNameEnum::EMPTY) | None => {
                        Restart::No
                    }
                }
            }),
            working_dir: config.working_dir.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
            log_driver: log.typ.unwrap_or_default(),
            log_options: log.config.unwrap_or_default(),
            log_path: seen.log_path.unwrap_or_default(),
            resolv_conf_path: seen.resolv_conf_path.unwrap_or_default(),
            error: state.error.unwrap_or_default(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            networks,
            stop_timeout: config.stop_timeout,
        }
    }
}

fn list_state(state: ContainerSummaryStateEnum) -> State {
    match state {
        ContainerSummaryStateEnum::EMPTY => State::Unknown,
        ContainerSummaryStateEnum::CREATED => State::Created,
        ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING => State::Running,
        ContainerSummaryStateEnum::PAUSED => State::Paused,
        ContainerSummaryStateEnum::RESTARTING => State::Restarting,
        ContainerSummaryStateEnum::EXITED => State::Exited,
        ContainerSummaryStateEnum::REMOVING => State::Removing,
        ContainerSummaryStateEnum::DEAD => State::Dead,
    }
}

fn own_state(state: ContainerStateStatusEnum) -> State {
    match state {
        ContainerStateStatusEnum::CREATED => State::Created,
        ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING => State::Running,
        ContainerStateStatusEnum::PAUSED => State::Paused,
        ContainerStateStatusEnum::RESTARTING => State::Restarting,
        ContainerStateStatusEnum::REMOVING => State::Removing,
        ContainerStateStatusEnum::EXITED => State::Exited,
        ContainerStateStatusEnum::DEAD => State::Dead,
        ContainerStateStatusEnum::EMPTY => State::Unknown,
    }
}

/// Published ports as bound now, then those that are only exposed.
fn ports(bound: PortMap, exposed: Vec<String>) -> Vec<Port> {
    let parse = |text: &str| {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        Some((port.parse::<u16>().ok()?, protocol.to_owned()))
    };
    let mut ports = Vec::new();
    for (key, bindings) in &bound {
        let Some((container_port, protocol)) = parse(key) else {
            continue;
        };
        let port = Port {
            container_port,
            host_port: 0,
            host_ip: String::new(),
            protocol,
        };
        match bindings.as_deref().unwrap_or_default() {
            [] => ports.push(port),
            bindings => ports.extend(bindings.iter().map(|binding| {
                Port {
                    host_port: binding
                        .host_port
                        .as_deref()
                        .and_then(|port| port.parse().ok())
                        .unwrap_or_default(),
                    host_ip: binding.host_ip.clone().unwrap_or_default(),
                    ..port.clone()
                }
            })),
        }
    }
    for (container_port, protocol) in exposed.iter().filter_map(|text| parse(text)) {
        let known = ports
            .iter()
            .any(|port| port.container_port == container_port && port.protocol == protocol);
        if !known {
            ports.push(Port {
                container_port,
                host_port: 0,
                host_ip: String::new(),
                protocol,
            });
        }
    }
    ports.sort_unstable();
    ports
}
