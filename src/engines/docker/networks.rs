//! The engine's networks.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::json;

use super::{
    ask::{Ask, Filters, nullable},
    engine::Engine,
    error::{Error, Subject},
    names::{ContainerRef, DriverName, NetworkName},
    things::Thing,
    time,
    version::ApiVersion,
};

/// A network, in the engine's own words.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Network {
    pub name: String,
    pub id: String,
    created: String,
    pub scope: String,
    pub driver: String,
    #[serde(rename = "EnableIPv6")]
    pub ipv6: bool,
    pub internal: bool,
    pub attachable: bool,
    pub ingress: bool,
    #[serde(rename = "IPAM", deserialize_with = "nullable")]
    pub ipam: Ipam,
    #[serde(deserialize_with = "nullable")]
    pub containers: HashMap<String, Member>,
    #[serde(deserialize_with = "nullable")]
    pub options: HashMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    pub labels: HashMap<String, String>,
}

/// How a network gives out addresses.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Ipam {
    #[serde(deserialize_with = "nullable")]
    pub driver: String,
    #[serde(deserialize_with = "nullable")]
    pub options: HashMap<String, String>,
    #[serde(deserialize_with = "nullable", rename = "Config")]
    pub pools: Vec<Pool>,
}

/// A pool of addresses. Empty texts are the engine's choice.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Pool {
    pub subnet: String,
    #[serde(rename = "IPRange")]
    pub ip_range: String,
    pub gateway: String,
    #[serde(rename = "AuxiliaryAddresses", deserialize_with = "nullable")]
    pub auxiliary: HashMap<String, String>,
}

/// A container on a network.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Member {
    pub name: String,
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    pub mac_address: String,
    #[serde(rename = "IPv4Address")]
    pub ipv4: String,
    #[serde(rename = "IPv6Address")]
    pub ipv6: String,
}

impl Network {
    /// Nanoseconds since the Unix epoch.
    pub fn created(&self) -> Option<i64> {
        time::parse(self.created.as_bytes())
    }
}

/// A network to be made.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct NewNetwork {
    pub name: NetworkName,
    /// None: "bridge".
    pub driver: Option<DriverName>,
    pub options: HashMap<String, String>,
    pub labels: HashMap<String, String>,
    pub internal: bool,
    pub attachable: bool,
    pub ipv6: bool,
    /// None: the engine chooses.
    pub ipam: Option<Ipam>,
}

/// How a container is attached to a network. What is empty is the engine's choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Endpoint {
    pub aliases: Vec<String>,
    pub ipv4: String,
    pub ipv6: String,
    pub mac_address: String,
    pub driver_options: HashMap<String, String>,
    pub gateway_priority: i32,
}

impl Endpoint {
    /// Whether this engine can attach so.
    pub(super) async fn fits(&self, engine: &Engine) -> Result<(), Error> {
        // Older engines would leave it out and say nothing.
        if !self.mac_address.is_empty() {
            let needs = ApiVersion::new(1, 44);
            engine
                .needs("the MAC address of an endpoint", needs)
                .await?;
        }
        if self.gateway_priority != 0 {
            let needs = ApiVersion::new(1, 48);
            engine.needs("the priority of a gateway", needs).await?;
        }
        Ok(())
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let mut json = json!({
            "Aliases": self.aliases,
            "MacAddress": self.mac_address,
            "DriverOpts": self.driver_options,
            "IPAMConfig": { "IPv4Address": self.ipv4, "IPv6Address": self.ipv6 },
        });
        // Older engines refuse what they do not know of an endpoint.
        if self.gateway_priority != 0
            && let Some(object) = json.as_object_mut()
        {
            object.insert("GwPriority".to_owned(), self.gateway_priority.into());
        }
        json
    }
}

impl Engine {
    /// Networks with all of these labels (an empty value fits any) and of this driver, if one is given.
    pub async fn networks(
        &self,
        labels: &HashMap<String, String>,
        driver: Option<&DriverName>,
    ) -> Result<Vec<Network>, Error> {
        let mut filters = Filters::default();
        filters.labels("label", labels);
        if let Some(driver) = driver {
            filters.add("driver", driver.as_str());
        }
        let path = format!("/networks?{}", filters.query());
        self.ask(Ask::get(&path, Subject::Engine)).await
    }

    /// One network, with what is attached to it.
    pub async fn network(&self, network: &NetworkName) -> Result<Network, Error> {
        let subject = Subject::Thing(Thing::Network(network.as_str()));
        let path = format!("/networks/{network}");
        self.ask(Ask::get(&path, subject)).await
    }

    /// Makes a network. Returns its id, and what the engine warned of.
    pub async fn create_network(&self, new: &NewNetwork) -> Result<(String, String), Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Created {
            id: String,
            #[serde(default, deserialize_with = "nullable")]
            warning: String,
        }
        let driver = new.driver.as_ref().map_or("bridge", DriverName::as_str);
        let mut body = json!({
            "Name": new.name.as_str(),
            // Engines before API 1.44 would make another of the same name.
            "CheckDuplicate": true,
            "Driver": driver,
            "Options": new.options,
            "Labels": new.labels,
            "Internal": new.internal,
            "Attachable": new.attachable,
            "EnableIPv6": new.ipv6,
        });
        if let Some(ipam) = &new.ipam
            && let Some(object) = body.as_object_mut()
        {
            object.insert("IPAM".to_owned(), ipam_json(ipam));
        }
        let body = body.to_string();
        let subject = Subject::Thing(Thing::NewNetwork(new.name.as_str()));
        // Some drivers take their time.
        let ask = Ask::post("/networks/create", &body, subject).long();
        let created: Created = self.ask(ask).await?;
        Ok((created.id, created.warning))
    }

    /// Removes a network.
    pub async fn remove_network(&self, network: &NetworkName) -> Result<(), Error> {
        let subject = Subject::Thing(Thing::Network(network.as_str()));
        let path = format!("/networks/{network}");
        self.order(Ask::delete(&path, subject)).await
    }

    /// Attaches a container.
    pub async fn connect_network(
        &self,
        network: &NetworkName,
        container: &ContainerRef,
        endpoint: Option<&Endpoint>,
    ) -> Result<(), Error> {
        let mut body = json!({ "Container": container.as_str() });
        if let Some(endpoint) = endpoint
            && let Some(object) = body.as_object_mut()
        {
            endpoint.fits(self).await?;
            object.insert("EndpointConfig".to_owned(), endpoint.json());
        }
        self.membership(network, container, "connect", &body.to_string())
            .await
    }

    /// Detaches a container.
    pub async fn disconnect_network(
        &self,
        network: &NetworkName,
        container: &ContainerRef,
        force: bool,
    ) -> Result<(), Error> {
        let body = json!({ "Container": container.as_str(), "Force": force }).to_string();
        self.membership(network, container, "disconnect", &body)
            .await
    }

    async fn membership(
        &self,
        network: &NetworkName,
        container: &ContainerRef,
        change: &str,
        body: &str,
    ) -> Result<(), Error> {
        let subject = Subject::Thing(Thing::Membership {
            network: network.as_str(),
            container: container.as_str(),
        });
        let path = format!("/networks/{network}/{change}");
        self.order(Ask::post(&path, body, subject)).await
    }
}

fn ipam_json(ipam: &Ipam) -> serde_json::Value {
    let pools: Vec<_> = ipam.pools.iter().map(pool_json).collect();
    let driver = match ipam.driver.as_str() {
        "" => "default",
        driver => driver,
    };
    json!({ "Driver": driver, "Options": ipam.options, "Config": pools })
}

/// Only what is set: to some engines an empty text is a wrong one.
fn pool_json(pool: &Pool) -> serde_json::Value {
    let mut json = serde_json::Map::new();
    for (name, text) in [
        ("Subnet", &pool.subnet),
        ("IPRange", &pool.ip_range),
        ("Gateway", &pool.gateway),
    ] {
        if !text.is_empty() {
            json.insert(name.to_owned(), text.as_str().into());
        }
    }
    if !pool.auxiliary.is_empty() {
        json.insert("AuxiliaryAddresses".to_owned(), json!(pool.auxiliary));
    }
    json.into()
}
