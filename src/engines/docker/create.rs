//! Making a container.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    ask::{Ask, nullable},
    container::{Port, Restart},
    container_state::Resources,
    containers::Seen,
    create_host::{HealthCheck, Host},
    engine::Engine,
    error::{Error, Subject},
    names::{ContainerName, ContainerRef, ImageRef, NetworkName},
    networks::Endpoint,
    version::ApiVersion,
};

/// Before this version a new container could be on one network only.
const SEVERAL_ENDPOINTS: ApiVersion = ApiVersion::new(1, 44);

/// A container to be made. What is empty or none is the image's, or the engine's choice.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct NewContainer {
    pub name: Option<ContainerName>,
    /// On the host already.
    pub image: ImageRef,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    /// Names and values.
    pub environment: Vec<(String, String)>,
    pub labels: HashMap<String, String>,
    pub working_dir: String,
    pub user: String,
    pub tty: bool,
    pub stdin_open: bool,
    /// To publish.
    pub ports: Vec<Port>,
    /// To be there without being published, as "80/tcp".
    pub exposed: Vec<String>,
    pub restart: Restart,
    pub network: Option<Network>,
    /// Further networks, and how it is attached to each, the first one too.
    pub endpoints: Vec<(NetworkName, Endpoint)>,
    pub auto_remove: bool,
    pub resources: Resources,
    pub hostname: String,
    pub domain_name: String,
    pub health_check: Option<HealthCheck>,
    pub stop_signal: Option<u8>,
    pub stop_timeout_s: Option<i64>,
    /// "os[/arch[/variant]]".
    pub platform: String,
    pub host: Host,
}

/// What a container's first network is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Network {
    /// A network, or the engine's "bridge", "host", "none" and "default".
    Named(NetworkName),
    /// Another container's.
    Of(ContainerRef),
}

impl Network {
    fn mode(&self) -> String {
        match self {
            Self::Named(name) => name.to_string(),
            Self::Of(container) => format!("container:{container}"),
        }
    }

    /// A network that may be missing.
    fn made(&self) -> Option<&NetworkName> {
        match self {
            Self::Named(name) => {
                let own = matches!(name.as_str(), "none" | "host" | "bridge" | "default");
                (!own).then_some(name)
            }
            Self::Of(_) => None,
        }
    }
}

impl NewContainer {
    /// A container of this image, and everything else as the image and the engine have it.
    pub fn of(image: ImageRef) -> Self {
        Self {
            name: None,
            image,
            entrypoint: Vec::new(),
            command: Vec::new(),
            environment: Vec::new(),
            labels: HashMap::new(),
            working_dir: String::new(),
            user: String::new(),
            tty: false,
            stdin_open: false,
            ports: Vec::new(),
            exposed: Vec::new(),
            restart: Restart::No,
            network: None,
            endpoints: Vec::new(),
            auto_remove: false,
            resources: Resources::default(),
            hostname: String::new(),
            domain_name: String::new(),
            health_check: None,
            stop_signal: None,
            stop_timeout_s: None,
            platform: String::new(),
            host: Host::default(),
        }
    }

    fn body(&self, endpoints: &[(NetworkName, Endpoint)]) -> Value {
        let mut body = Map::new();
        let mut set = |name: &str, value: Value| {
            body.insert(name.to_owned(), value);
        };
        set("Image", self.image.as_str().into());
        for (name, list) in [("Entrypoint", &self.entrypoint), ("Cmd", &self.command)] {
            if !list.is_empty() {
                set(name, json!(list));
            }
        }
        let variables = self.environment.iter();
        let variables: Vec<_> = variables
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        set("Env", json!(variables));
        set("Labels", json!(self.labels));
        for (name, text) in [
            ("WorkingDir", &self.working_dir),
            ("User", &self.user),
            ("Hostname", &self.hostname),
            ("Domainname", &self.domain_name),
        ] {
            if !text.is_empty() {
                set(name, text.as_str().into());
            }
        }
        set("Tty", self.tty.into());
        set("OpenStdin", self.stdin_open.into());
        if let Some(signal) = self.stop_signal {
            set("StopSignal", signal.to_string().into());
        }
        if let Some(seconds) = self.stop_timeout_s {
            set("StopTimeout", seconds.into());
        }
        if let Some(check) = &self.health_check {
            set("Healthcheck", check.json());
        }
        let (exposed, bindings) = self.published();
        set("ExposedPorts", exposed);
        let mut host = self.host.json();
        host.extend(self.resources.json());
        host.insert("PortBindings".to_owned(), bindings);
        host.insert("RestartPolicy".to_owned(), self.restart.json());
        host.insert("AutoRemove".to_owned(), self.auto_remove.into());
        if let Some(network) = &self.network {
            host.insert("NetworkMode".to_owned(), network.mode().into());
        }
        set("HostConfig", host.into());
        let endpoints = endpoints.iter();
        let endpoints: Map<_, _> = endpoints
            .map(|(network, endpoint)| (network.to_string(), endpoint.json()))
            .collect();
        set("NetworkingConfig", json!({ "EndpointsConfig": endpoints }));
        body.into()
    }

    /// Ports that are there, and those of them that are published.
    fn published(&self) -> (Value, Value) {
        let mut exposed = Map::new();
        let mut bindings = Map::new();
        for port in &self.exposed {
            exposed.insert(port.clone(), json!({}));
        }
        for port in &self.ports {
            let key = format!("{}/{}", port.container_port, port.protocol);
            let host_port = match port.host_port {
                0 => String::new(),
                port => port.to_string(),
            };
            exposed.insert(key.clone(), json!({}));
            let binding = json!({ "HostIp": port.host_ip, "HostPort": host_port });
            let list = bindings.entry(key).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(binding);
            }
        }
        (exposed.into(), bindings.into())
    }
}

impl Engine {
    /// Makes a container. Returns its id, and what the engine warned of.
    pub async fn create(&self, new: NewContainer) -> Result<(String, Vec<String>), Error> {
        new.host.fits(self).await?;
        if let Some(check) = &new.health_check {
            check.fits(self).await?;
        }
        for (_, endpoint) in &new.endpoints {
            endpoint.fits(self).await?;
        }
        let subject = Subject::Creation {
            name: new.name.as_ref().map(ContainerName::as_str),
            image: new.image.as_str(),
            network: new
                .network
                .as_ref()
                .and_then(Network::made)
                .map(NetworkName::as_str),
        };
        let further = new
            .endpoints
            .iter()
            .map(|(name, _)| Network::Named(name.clone()));
        for network in new
            .network
            .iter()
            .cloned()
            .chain(further)
            .collect::<HashSet<_>>()
        {
            // The engine would notice only at the start.
            if let Some(network) = network.made() {
                let path = format!("/networks/{network}");
                let subject = Subject::Creation {
                    name: None,
                    image: "",
                    network: Some(network.as_str()),
                };
                self.order(Ask::get(&path, subject)).await?;
            }
        }
        let (together, later) = self.split(&new).await?;
        let mut path = "/containers/create?".to_owned();
        if let Some(name) = &new.name {
            path.push_str(&format!("name={name}&"));
        }
        if !new.platform.is_empty() {
            path.push_str(&format!("platform={}", super::ask::escaped(&new.platform)));
        }
        let body = new.body(together).to_string();
        let path = path.trim_end_matches(['?', '&']);
        let created: Result<Created, _> = self.ask(Ask::post(path, &body, subject)).await;
        let created = match created {
            Ok(created) => created,
            Err(Error::NoAnswer { .. }) => {
                let container = new.name.map(|name| name.to_string()).unwrap_or_default();
                let seen = match container.parse() {
                    Ok(named) => self.look(&named).await,
                    Err(_) => Seen::Nothing,
                };
                return Err(seen.unknown(container));
            }
            Err(error) => return Err(error),
        };
        self.attach_later(&created.id, later).await?;
        Ok((created.id, created.warnings))
    }

    /// What goes into the request, and what an older engine takes only afterwards.
    async fn split<'a>(&self, new: &'a NewContainer) -> Result<Endpoints<'a>, Error> {
        let all = new.endpoints.as_slice();
        if all.len() < 2 {
            return Ok((all, &[]));
        }
        match self
            .needs("a container on several networks", SEVERAL_ENDPOINTS)
            .await
        {
            Ok(()) => Ok((all, &[])),
            Err(Error::TooOld { .. }) => Ok(all.split_at(1)),
            Err(error) => Err(error),
        }
    }

    /// Attaches a new container to its further networks. One that cannot be attached is not left half made.
    async fn attach_later(&self, id: &str, later: &[(NetworkName, Endpoint)]) -> Result<(), Error> {
        if later.is_empty() {
            return Ok(());
        }
        let container = super::container_state::own_id(id)?;
        for (network, endpoint) in later {
            let attached = self
                .connect_network(network, &container, Some(endpoint))
                .await;
            if let Err(error) = attached {
                self.remove(&container, true, true).await?;
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Two parts of the endpoints of a new container.
type Endpoints<'a> = (&'a [(NetworkName, Endpoint)], &'a [(NetworkName, Endpoint)]);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
    #[serde(default, deserialize_with = "nullable")]
    warnings: Vec<String>,
}
