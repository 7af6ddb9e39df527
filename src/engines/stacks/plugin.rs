//! Docker's compose plugin: where it is, and whether it is new enough. The docker client itself is not needed.
//!
//! It is looked for anew each time, so that one installed later is found; its version is asked once for each file.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::timeout;

use crate::{
    engines::process::{self, Printed, ProcessRequest, user::User},
    excerpt::{VALUE, excerpt},
};

/// Where Docker looks for plugins, behind the user's own folder.
const FOLDERS: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];
const NAME: &str = "docker-compose";
/// The first version with `--progress json` for all of its commands.
const OLDEST: (u32, u32) = (2, 30);
/// How long it may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of its version that are read.
const LONGEST: usize = 4096;

/// Why compose cannot be used, with the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// There is none.
    #[error(
        "there is no docker compose plugin on the host: install docker-compose-plugin there (in the agent's container: mount it, -v /usr/libexec/docker/cli-plugins:/usr/libexec/docker/cli-plugins:ro)"
    )]
    Missing,
    /// It does not tell its progress as JSON.
    #[error(
        "the docker compose plugin {} is version {}, which is too old: install docker-compose-plugin 2.30 or newer", path.display(), excerpt(version, VALUE)
    )]
    TooOld {
        /// The plugin.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// It cannot be run.
    #[error("the docker compose plugin {} cannot be used ({}): install docker-compose-plugin again", path.display(), excerpt(cause, VALUE))]
    Broken {
        /// The plugin.
        path: PathBuf,
        /// What was seen.
        cause: String,
    },
}

/// Finds the plugin. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Finder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folders: Vec<PathBuf>,
    known: Mutex<Option<(Identity, Result<(), Unavailable>)>>,
}

/// Tells a file from another one that came in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    path: PathBuf,
    file: (u64, u64, u64),
    modified: (i64, i64),
}

impl Default for Finder {
    /// Looks where Docker does.
    fn default() -> Self {
        let home = User::find(None, Path::new("/etc/passwd")).map(|user| user.home);
        let own = home.map(|home| home.join(".docker/cli-plugins"));
        let own = own.into_iter().filter(|folder| folder.is_absolute());
        Self::among(own.chain(FOLDERS.map(PathBuf::from)).collect())
    }
}

impl Finder {
    /// Looks in these folders, in order.
    pub fn among(folders: Vec<PathBuf>) -> Self {
        let known = Mutex::new(None);
        Self {
            inner: Arc::new(Inner { folders, known }),
        }
    }

    /// Whether there is one. What it is worth shows when it is used.
    pub fn is_there(&self) -> bool {
        self.look().is_some()
    }

    fn look(&self) -> Option<Identity> {
        let paths = self.inner.folders.iter().map(|folder| folder.join(NAME));
        let found = paths.filter_map(|path| {
            let of = std::fs::metadata(&path).ok()?;
            // One that anybody could have written is not run.
            let usable = of.is_file() && of.mode() & 0o111 != 0 && of.mode() & 0o002 == 0;
            usable.then(|| Identity {
                path,
                file: (of.dev(), of.ino(), of.size()),
                modified: (of.mtime(), of.mtime_nsec()),
            })
        });
        found.take(1).last()
    }

    /// The plugin, if it can be used.
    pub async fn find(&self) -> Result<PathBuf, Unavailable> {
        let found = self.look().ok_or(Unavailable::Missing)?;
        let known = self.known(|known| known.clone());
        if let Some((known, usable)) = known
            && known == found
        {
            return usable.map(|()| found.path);
        }
        let usable = check(&found.path).await;
        // What may be otherwise next time is asked again.
        if !matches!(usable, Err(Unavailable::Broken { .. })) {
            let now = Some((found.clone(), usable.clone()));
            self.known(|known| *known = now);
        }
        usable.map(|()| found.path)
    }

    fn known<T>(
        &self,
        look: impl FnOnce(&mut Option<(Identity, Result<(), Unavailable>)>) -> T,
    ) -> T {
        let known = self.inner.known.lock();
        look(&mut known.unwrap_or_else(PoisonError::into_inner))
    }
}

async fn check(path: &Path) -> Result<(), Unavailable> {
    let version = match timeout(PATIENCE, version(path)).await {
        Ok(Ok(version)) => version,
        Ok(Err(cause)) => return Err(broken(path, &cause)),
        Err(_) => return Err(broken(path, "it did not tell its version in time")),
    };
    match read(&version) {
        Some(version) if version >= OLDEST => Ok(()),
        Some(_) => Err(Unavailable::TooOld {
            path: path.to_owned(),
            version,
        }),
        None => Err(broken(path, &format!("it calls its version {version:?}"))),
    }
}

fn broken(path: &Path, cause: &str) -> Unavailable {
    Unavailable::Broken {
        path: path.to_owned(),
        cause: cause.to_owned(),
    }
}

async fn version(path: &Path) -> Result<String, String> {
    let request = ProcessRequest {
        program: path.to_string_lossy().into_owned(),
        arguments: vec!["version".to_owned(), "--short".to_owned()],
        environment: Vec::new(),
        working_dir: Some(PathBuf::from("/")),
        user: None,
    };
    let mut plugin = process::start(request)
        .await
        .map_err(|error| error.to_string())?;
    drop(plugin.input);
    let mut printed = Vec::new();
    let failed = |error: io::Error| error.to_string();
    while let Some(piece) = plugin.output.next().await.map_err(failed)? {
        if let Printed::Stdout(bytes) = piece
            && printed.len() < LONGEST
        {
            printed.extend_from_slice(&bytes);
        }
    }
    let ended = plugin.group.wait().await.map_err(failed)?;
    if !ended.success() {
        return Err(format!("it ended with {ended}"));
    }
    printed.truncate(LONGEST);
    Ok(String::from_utf8_lossy(&printed).trim().to_owned())
}

/// The first two numbers of a version.
fn read(version: &str) -> Option<(u32, u32)> {
    let version = version.strip_prefix('v').unwrap_or(version);
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, version) in [
            ("2.40.3", Some((2, 40))),
            ("v2.29.1-desktop.1", Some((2, 29))),
            ("5.0.0", Some((5, 0))),
            ("dev", None),
            ("", None),
            ("2", None),
        ] {
            assert_eq!(read(text), version, "{text}");
        }
    }
}
