//! Where cgroups are, and where a container's is: the engine's cgroupfs and systemd drivers put it at known places,
//! and a process tells any other.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::engines::host::{HostRoot, kept::read_once};

/// Trees of version 1 that hold what is read.
const CONTROLLERS: [&str; 5] = ["cpuacct", "cpu", "memory", "blkio", "pids"];
/// Containers that are looked at, at most.
const MOST: usize = 4096;

/// The cgroup file systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// One folder for each controller.
    V1(PathBuf),
    /// One folder.
    V2(PathBuf),
}

/// A container's cgroup: its path below each tree, without a slash before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// For version 1, by controller; for version 2, the first.
    paths: [Option<PathBuf>; 5],
}

impl Tree {
    /// The trees of this host, if they are where every distribution has them.
    pub(crate) fn find(root: &HostRoot) -> Option<Self> {
        let folder = root.sys("fs/cgroup");
        if folder.join("cgroup.controllers").exists() {
            return Some(Self::V2(folder));
        }
        // With both, the controllers are in version 1.
        folder
            .join("memory/memory.usage_in_bytes")
            .exists()
            .then_some(Self::V1(folder))
    }

    fn folder(&self) -> PathBuf {
        match self {
            Self::V1(folder) => folder.join("memory"),
            Self::V2(folder) => folder.clone(),
        }
    }

    /// The ids of containers whose cgroups are where the engine puts them. None when there is no such place.
    pub(crate) fn running(&self) -> Option<Vec<String>> {
        let folder = self.folder();
        let by_engine = ids(&folder.join("docker"), "", "");
        let by_systemd = ids(&folder.join("system.slice"), "docker-", ".scope");
        if by_engine.is_err() && by_systemd.is_err() {
            return None;
        }
        let mut ids = by_engine.unwrap_or_default();
        ids.extend(by_systemd.unwrap_or_default());
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
    }

    /// The usual place of a container, if it is there.
    pub(crate) fn usual(&self, id: &str) -> Option<Place> {
        let folder = self.folder();
        [
            format!("docker/{id}"),
            format!("system.slice/docker-{id}.scope"),
        ]
        .into_iter()
        .find(|path| folder.join(path).is_dir())
        .map(|path| Place {
            paths: std::array::from_fn(|_| Some(PathBuf::from(&path))),
        })
    }

    /// The place that a process of the container tells.
    pub(crate) fn of_process(&self, root: &HostRoot, pid: u32, id: &str) -> Option<Place> {
        let text = read_once(root.proc(&format!("{pid}/cgroup"))).ok()?;
        let mut place = self.parse(&text);
        for path in &mut place.paths {
            // Another process may have the number by now: then none of them is the container's.
            *path = path.take().and_then(|path| of_container(&path, id));
        }
        place.paths.iter().any(Option::is_some).then_some(place)
    }

    /// Parses /proc/PID/cgroup: "4:memory:/docker/ID" for version 1, "0::/docker/ID" for version 2.
    pub(crate) fn parse(&self, text: &[u8]) -> Place {
        let mut place = Place {
            paths: Default::default(),
        };
        for line in String::from_utf8_lossy(text).lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let path = Path::new(path.trim_start_matches('/'));
            if path.components().any(|part| part.as_os_str() == "..") {
                continue;
            }
            match self {
                Self::V1(_) => {
                    for (name, place) in CONTROLLERS.iter().zip(&mut place.paths) {
                        if controllers.split(',').any(|one| one == *name) {
                            *place = Some(path.to_owned());
                        }
                    }
                }
                Self::V2(_) if controllers.is_empty() => {
                    place.paths.fill(Some(path.to_owned()));
                }
                Self::V2(_) => {}
            }
        }
        place
    }

    /// The folders of a place, by controller; for version 2, all the same.
    pub(super) fn folders(&self, place: &Place) -> [Option<PathBuf>; 5] {
        let mut names = CONTROLLERS.iter();
        place.paths.clone().map(|path| {
            let name = names.next()?;
            match self {
                Self::V1(folder) => Some(folder.join(name).join(path?)),
                Self::V2(folder) => Some(folder.join(path?)),
            }
        })
    }
}

/// The container's own cgroup, of which a process may be in one further down: an init system makes some of its own.
fn of_container(path: &Path, id: &str) -> Option<PathBuf> {
    let parts: Vec<_> = path.iter().collect();
    let named = |part: &&std::ffi::OsStr| part.to_str().is_some_and(|part| part.contains(id));
    let at = parts.iter().position(named)?;
    Some(parts.into_iter().take(at + 1).collect())
}

/// The ids in the names of a folder's entries.
fn ids(folder: &Path, before: &str, after: &str) -> io::Result<Vec<String>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let id = name
            .to_str()
            .and_then(|name| name.strip_prefix(before)?.strip_suffix(after))
            .filter(|id| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if let Some(id) = id {
            ids.push(id.to_owned());
            if ids.len() >= MOST {
                break;
            }
        }
    }
    Ok(ids)
}

#[cfg(test)]
#[path = "tree_test.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
