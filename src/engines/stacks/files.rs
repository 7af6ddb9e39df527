//! The files of a stack as a caller sends them: bounded, named plainly, and never shown.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::names::{FileName, ServiceName};

/// Files of a stack, at most.
pub const MOST_FILES: usize = 128;
/// Their bytes in all, at most.
pub const MOST_BYTES: usize = 2 << 20;
/// Profiles, at most.
const MOST_PROFILES: usize = 32;
/// Compose files that are taken when none is named, with the override file of each.
const DEFAULTS: [(&str, [&str; 2]); 4] = [
    (
        "compose.yaml",
        ["compose.override.yaml", "compose.override.yml"],
    ),
    (
        "compose.yml",
        ["compose.override.yml", "compose.override.yaml"],
    ),
    (
        "docker-compose.yaml",
        [
            "docker-compose.override.yaml",
            "docker-compose.override.yml",
        ],
    ),
    (
        "docker-compose.yml",
        [
            "docker-compose.override.yml",
            "docker-compose.override.yaml",
        ],
    ),
];

/// A file's content.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// Any bytes.
    pub bytes: Bytes,
    /// It may be executed.
    pub executable: bool,
}

/// The files of a stack. At least one is a compose file.
#[derive(Clone, PartialEq, Eq)]
pub struct Files {
    files: BTreeMap<FileName, Content>,
    roles: Roles,
}

/// What compose is told of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// Compose files, in order.
    pub compose: Vec<String>,
    /// Files of variables, in order.
    pub env: Vec<String>,
    /// Profiles that are on.
    pub profiles: Vec<String>,
}

/// What is wrong with them, with the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{mend}")]
pub struct FilesError {
    /// Of the request.
    pub field: &'static str,
    /// The beginning of what was given.
    pub given: String,
    mend: String,
}

impl FilesError {
    fn new(field: &'static str, given: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            field,
            given: given.into(),
            mend: mend.into(),
        }
    }

    fn named(field: &'static str) -> impl Fn(super::names::NameError) -> Self {
        move |wrong| Self::new(field, wrong.given.clone(), wrong.to_string())
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.files.keys().map(FileName::as_str).collect();
        f.debug_struct("Files")
            .field("names", &names)
            .finish_non_exhaustive()
    }
}

impl Files {
    /// Checks them.
    pub fn new(
        files: impl IntoIterator<Item = (String, Content)>,
        roles: Roles,
    ) -> Result<Self, FilesError> {
        let mut known = BTreeMap::new();
        let mut bytes = 0;
        for (name, content) in files {
            let name: FileName = name.parse().map_err(FilesError::named("files.name"))?;
            bytes += content.bytes.len();
            if known.len() >= MOST_FILES || bytes > MOST_BYTES {
                let mend = format!(
                    "a stack has at most {MOST_FILES} files and {MOST_BYTES} bytes in all: leave out what its containers do not need"
                );
                return Err(FilesError::new("files", name.as_str(), mend));
            }
            if known.insert(name.clone(), content).is_some() {
                let mend = format!("{name} is there twice: send each file once");
                return Err(FilesError::new("files.name", name.as_str(), mend));
            }
        }
        // In order, what lies below a name comes after it, if not at once.
        for name in known.keys() {
            let folder = format!("{name}/");
            if let Some(below) = known
                .keys()
                .find(|other| other.as_str().starts_with(&folder))
            {
                let mend = format!("{name} cannot be a file and the folder of {below}: rename one");
                return Err(FilesError::new("files.name", name.as_str(), mend));
            }
        }
        let mut files = Self {
            files: known,
            roles,
        };
        files.settle()?;
        Ok(files)
    }

    /// Finds the files that are taken when none is named, and checks those that are.
    fn settle(&mut self) -> Result<(), FilesError> {
        if self.roles.compose.is_empty() {
            let sent = |name: &&str| self.has(name);
            let found = DEFAULTS.iter().find(|(name, _)| self.has(name));
            let Some((name, overriding)) = found else {
                let mend = "send a compose.yaml, or say in compose_files which of the files are compose files";
                return Err(FilesError::new("files", "", mend));
            };
            let names = [*name]
                .into_iter()
                .chain(overriding.iter().copied().find(sent));
            self.roles.compose = names.map(str::to_owned).collect();
        }
        if self.roles.env.is_empty() && self.has(".env") {
            self.roles.env.push(".env".to_owned());
        }
        for (field, names) in [
            ("files.compose_files", &self.roles.compose),
            ("files.env_files", &self.roles.env),
        ] {
            if let Some(name) = names.iter().find(|name| !self.has(name)) {
                let mend = "it is not among the files: send it with them, by the same name";
                return Err(FilesError::new(field, name.as_str(), mend));
            }
            if names.len() > MOST_FILES {
                return Err(FilesError::new(field, "", "name each file once"));
            }
        }
        if self.roles.profiles.len() > MOST_PROFILES {
            let mend = format!("at most {MOST_PROFILES} profiles");
            return Err(FilesError::new("files.profiles", "", mend));
        }
        for profile in &self.roles.profiles {
            let name: Result<ServiceName, _> = profile.parse();
            // Compose takes it for all profiles.
            if profile != "*" {
                name.map_err(FilesError::named("files.profiles"))?;
            }
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.files.keys().any(|file| file.as_str() == name)
    }

    /// Every file.
    pub fn iter(&self) -> impl Iterator<Item = (&FileName, &Content)> {
        self.files.iter()
    }

    /// What compose is told of them.
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// Only the agent's user may read it: it may hold secrets, and no container needs it.
    pub fn is_private(&self, name: &FileName) -> bool {
        let is = |other: &String| other == name.as_str();
        let env = name.as_str().ends_with(".env");
        env || self.roles.compose.iter().any(is) || self.roles.env.iter().any(is)
    }

    /// Values of variables that may be secrets.
    pub fn secrets(&self) -> Vec<String> {
        let env = self.files.iter().filter(|(name, _)| {
            name.as_str().ends_with(".env") || self.roles.env.iter().any(|env| env == name.as_str())
        });
        secrets(env.map(|(_, content)| String::from_utf8_lossy(&content.bytes).into_owned()))
    }
}

/// Values in files of variables, for hiding them. Short ones are left out: they would hide too much.
pub(super) fn secrets(env: impl Iterator<Item = String>) -> Vec<String> {
    const SHORTEST: usize = 8;
    let mut values = Vec::new();
    for text in env {
        for (_, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let value = value.trim().trim_matches(['"', '\'']);
            if value.len() >= SHORTEST {
                values.push(value.to_owned());
            }
        }
    }
    // What holds another one goes first.
    values.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    values.dedup();
    values
}

#[cfg(test)]
#[path = "files_test.rs"]
#[allow(clippy::unwrap_used, reason = "a test that is wrong may panic")]
mod tests;
