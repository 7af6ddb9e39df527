//! What the engine says of an image, in its own words.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::{ask::nullable, time};

/// An image in a list, in the engine's own words.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Image {
    pub id: String,
    #[serde(deserialize_with = "nullable")]
    repo_tags: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    repo_digests: Vec<String>,
    /// Seconds since the Unix epoch.
    created: i64,
    size: i64,
    #[serde(deserialize_with = "nullable")]
    pub labels: HashMap<String, String>,
}

impl Image {
    /// Names with tags.
    pub fn tags(&self) -> Vec<String> {
        names(&self.repo_tags)
    }

    /// Names with digests.
    pub fn digests(&self) -> Vec<String> {
        names(&self.repo_digests)
    }

    /// Nanoseconds since the Unix epoch.
    pub fn created(&self) -> i64 {
        self.created.max(0).saturating_mul(1_000_000_000)
    }

    /// All layers together.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.size).unwrap_or_default()
    }
}

/// Some engines write `<none>` where there is no name.
fn names(names: &[String]) -> Vec<String> {
    let real = names.iter().filter(|name| !name.contains("<none>"));
    real.cloned().collect()
}

/// Everything of an image, in the engine's own words.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct ImageDetail {
    pub id: String,
    #[serde(deserialize_with = "nullable")]
    repo_tags: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    repo_digests: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub parent: String,
    #[serde(deserialize_with = "nullable")]
    pub comment: String,
    #[serde(deserialize_with = "nullable")]
    created: String,
    #[serde(deserialize_with = "nullable")]
    pub author: String,
    #[serde(deserialize_with = "nullable")]
    pub architecture: String,
    #[serde(deserialize_with = "nullable")]
    pub variant: String,
    #[serde(deserialize_with = "nullable")]
    pub os: String,
    #[serde(deserialize_with = "nullable")]
    size: i64,
    #[serde(deserialize_with = "nullable")]
    pub config: ImageConfig,
    #[serde(rename = "RootFS", deserialize_with = "nullable")]
    root_fs: RootFs,
    #[serde(deserialize_with = "nullable")]
    metadata: Metadata,
}

impl std::fmt::Debug for ImageDetail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageDetail")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What containers of an image are given.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct ImageConfig {
    #[serde(deserialize_with = "nullable")]
    pub user: String,
    #[serde(deserialize_with = "nullable")]
    pub exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "nullable")]
    env: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub cmd: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub volumes: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "nullable")]
    pub working_dir: String,
    #[serde(deserialize_with = "nullable")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub labels: HashMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    pub stop_signal: String,
    #[serde(deserialize_with = "nullable")]
    healthcheck: HealthCheck,
}

impl ImageConfig {
    /// Names and values.
    pub fn environment(&self) -> Vec<(&str, &str)> {
        let variables = self.env.iter();
        variables
            .map(|variable| variable.split_once('=').unwrap_or((variable, "")))
            .collect()
    }

    /// The health check's command, in the engine's form.
    pub fn health_check(&self) -> &[String] {
        &self.healthcheck.test
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HealthCheck {
    #[serde(deserialize_with = "nullable")]
    test: Vec<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RootFs {
    #[serde(deserialize_with = "nullable")]
    layers: Vec<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Metadata {
    #[serde(deserialize_with = "nullable")]
    last_tag_time: String,
}

impl ImageDetail {
    /// In short.
    pub fn image(&self) -> Image {
        let created = time::parse(self.created.as_bytes()).unwrap_or_default();
        Image {
            id: self.id.clone(),
            repo_tags: self.repo_tags.clone(),
            repo_digests: self.repo_digests.clone(),
            created: created.div_euclid(1_000_000_000),
            size: self.size,
            labels: self.config.labels.clone(),
        }
    }

    /// Nanoseconds since the Unix epoch.
    pub fn created(&self) -> Option<i64> {
        time::parse(self.created.as_bytes())
    }

    /// When it last got a name. Nanoseconds since the Unix epoch.
    pub fn tagged(&self) -> Option<i64> {
        time::parse(self.metadata.last_tag_time.as_bytes())
    }

    /// Digests, the lowest layer first.
    pub fn layers(&self) -> &[String] {
        &self.root_fs.layers
    }
}

/// A step in the making of an image, in the engine's own words.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct HistoryEntry {
    id: String,
    created: i64,
    #[serde(deserialize_with = "nullable")]
    pub created_by: String,
    #[serde(deserialize_with = "nullable")]
    pub tags: Vec<String>,
    size: i64,
    #[serde(deserialize_with = "nullable")]
    pub comment: String,
}

impl HistoryEntry {
    /// Empty when the image is not on the host.
    pub fn id(&self) -> &str {
        match self.id.as_str() {
            "<missing>" => "",
            id => id,
        }
    }

    /// Nanoseconds since the Unix epoch.
    pub fn created(&self) -> i64 {
        self.created.max(0).saturating_mul(1_000_000_000)
    }

    /// What the step added.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.size).unwrap_or_default()
    }
}
