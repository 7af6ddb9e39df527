//! The engine's volumes.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::json;

use super::{
    ask::{Ask, Filters, nullable},
    engine::Engine,
    error::{Error, Subject},
    names::{DriverName, VolumeName},
    things::Thing,
    time,
};

/// A volume, in the engine's own words.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Volume {
    pub name: String,
    pub driver: String,
    pub mountpoint: String,
    #[serde(deserialize_with = "nullable")]
    created_at: String,
    pub scope: String,
    #[serde(deserialize_with = "nullable")]
    pub options: HashMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    pub labels: HashMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    status: BTreeMap<String, serde_json::Value>,
}

impl Volume {
    /// Nanoseconds since the Unix epoch. None when the driver does not say.
    pub fn created(&self) -> Option<i64> {
        time::parse(self.created_at.as_bytes())
    }

    /// What its driver says, as texts.
    pub fn status(&self) -> HashMap<String, String> {
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let status = self.status.iter();
        status
            .map(|(key, value)| (key.clone(), text(value)))
            .collect()
    }
}

/// A volume to be made.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct NewVolume {
    /// None: the engine chooses.
    pub name: Option<VolumeName>,
    /// None: "local".
    pub driver: Option<DriverName>,
    pub options: HashMap<String, String>,
    pub labels: HashMap<String, String>,
}

/// Which volumes.
#[derive(Debug, Clone, Default)]
pub struct VolumeFilter {
    /// With all of these labels; an empty value fits any.
    pub labels: HashMap<String, String>,
    /// Of this driver.
    pub driver: Option<DriverName>,
    /// That no container has.
    pub unused: bool,
}

impl Engine {
    /// Volumes, and what the engine warned of.
    pub async fn volumes(
        &self,
        filter: &VolumeFilter,
    ) -> Result<(Vec<Volume>, Vec<String>), Error> {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "PascalCase", default)]
        struct Listed {
            #[serde(deserialize_with = "nullable")]
            volumes: Vec<Volume>,
            #[serde(deserialize_with = "nullable")]
            warnings: Vec<String>,
        }
        let mut filters = Filters::default();
        filters.labels("label", &filter.labels);
        if let Some(driver) = &filter.driver {
            filters.add("driver", driver.as_str());
        }
        if filter.unused {
            filters.add("dangling", "true");
        }
        let path = format!("/volumes?{}", filters.query());
        let listed: Listed = self.ask(Ask::get(&path, Subject::Engine)).await?;
        Ok((listed.volumes, listed.warnings))
    }

    /// One volume.
    pub async fn volume(&self, volume: &VolumeName) -> Result<Volume, Error> {
        let subject = Subject::Thing(Thing::Volume(volume.as_str()));
        let path = format!("/volumes/{volume}");
        self.ask(Ask::get(&path, subject)).await
    }

    /// Makes a volume, or finds the one that is there.
    pub async fn create_volume(&self, new: &NewVolume) -> Result<Volume, Error> {
        let name = new.name.as_ref().map_or("", VolumeName::as_str);
        let driver = new.driver.as_ref().map_or("local", DriverName::as_str);
        let body = json!({
            "Name": name,
            "Driver": driver,
            "DriverOpts": new.options,
            "Labels": new.labels,
        })
        .to_string();
        let subject = Subject::Thing(Thing::NewVolume(name));
        self.ask(Ask::post("/volumes/create", &body, subject).long())
            .await
    }

    /// Removes a volume, which takes as long as what is in it.
    pub async fn remove_volume(&self, volume: &VolumeName, force: bool) -> Result<(), Error> {
        let subject = Subject::Thing(Thing::Volume(volume.as_str()));
        let path = format!("/volumes/{volume}?force={force}");
        self.order(Ask::delete(&path, subject).long()).await
    }
}
