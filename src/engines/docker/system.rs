//! What the engine says of itself: about its host, its versions, and the room that things take.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::{
    ask::{Ask, nullable},
    engine::Engine,
    error::{Error, Subject},
    time,
};

/// What the engine says of itself, in its own words.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Info {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub server_version: String,
    pub operating_system: String,
    #[serde(rename = "OSType")]
    pub os_type: String,
    pub architecture: String,
    pub kernel_version: String,
    #[serde(rename = "NCPU")]
    pub cpus: u32,
    pub mem_total: u64,
    pub containers_running: u32,
    pub containers_paused: u32,
    pub containers_stopped: u32,
    pub images: u32,
    pub driver: String,
    #[serde(deserialize_with = "nullable")]
    driver_status: Vec<Vec<String>>,
    pub logging_driver: String,
    pub cgroup_driver: String,
    pub cgroup_version: String,
    pub docker_root_dir: String,
    #[serde(deserialize_with = "nullable")]
    runtimes: BTreeMap<String, serde_json::Value>,
    pub default_runtime: String,
    #[serde(deserialize_with = "nullable")]
    pub plugins: Plugins,
    #[serde(deserialize_with = "nullable")]
    pub security_options: Vec<String>,
    pub live_restore_enabled: bool,
    #[serde(deserialize_with = "nullable")]
    swarm: Swarm,
    #[serde(deserialize_with = "nullable")]
    pub labels: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub warnings: Vec<String>,
    system_time: String,
}

/// Drivers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Plugins {
    #[serde(deserialize_with = "nullable")]
    pub volume: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub network: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub log: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Swarm {
    local_node_state: String,
}

impl Info {
    /// What the storage driver says of itself.
    pub fn storage_status(&self) -> HashMap<String, String> {
        let pairs = self.driver_status.iter().filter_map(|pair| match &**pair {
            [name, value] => Some((name.clone(), value.clone())),
            _ => None,
        });
        pairs.collect()
    }

    /// Names of runtimes.
    pub fn runtimes(&self) -> Vec<String> {
        self.runtimes.keys().cloned().collect()
    }

    /// The swarm's state here.
    pub fn swarm_state(&self) -> &str {
        &self.swarm.local_node_state
    }

    /// The engine's clock, in nanoseconds since the Unix epoch.
    pub fn time(&self) -> Option<i64> {
        time::parse(self.system_time.as_bytes())
    }
}

/// Versions, in the engine's own words.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Versions {
    pub version: String,
    pub api_version: String,
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    pub git_commit: String,
    pub go_version: String,
    pub os: String,
    pub arch: String,
    pub kernel_version: String,
    pub build_time: String,
    #[serde(deserialize_with = "nullable")]
    pub components: Vec<Component>,
}

/// A part of the engine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Component {
    pub name: String,
    pub version: String,
    #[serde(deserialize_with = "nullable")]
    pub details: HashMap<String, String>,
}

impl Engine {
    /// What the engine says of itself.
    pub async fn info(&self) -> Result<Info, Error> {
        self.ask(Ask::get("/info", Subject::Engine)).await
    }

    /// Its versions.
    pub async fn versions(&self) -> Result<Versions, Error> {
        self.ask(Ask::get("/version", Subject::Engine)).await
    }
}
