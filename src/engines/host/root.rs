//! Where the host is: at "/", or under a folder of a container that holds the host's root (`AGENT_HOST_ROOT`).

use std::path::{Path, PathBuf};

/// The host's root as the agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRoot(Option<PathBuf>);

impl HostRoot {
    /// The host is under this folder.
    pub fn under(folder: PathBuf) -> Self {
        Self((folder != Path::new("/")).then_some(folder))
    }

    /// Whether the agent sees the host through a folder.
    pub fn is_elsewhere(&self) -> bool {
        self.0.is_some()
    }

    /// A path of the host. It stays below the host's root, whatever it is.
    pub fn path(&self, path: &Path) -> PathBuf {
        match &self.0 {
            None => path.to_owned(),
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
        }
    }

    /// A file of /proc.
    pub fn proc(&self, file: &str) -> PathBuf {
        self.path(&Path::new("/proc").join(file))
    }

    /// A file of /proc/self as a process of the host sees it: its mounts and its network are not a container's.
    pub fn proc_of_host(&self, file: &str) -> PathBuf {
        let process = if self.is_elsewhere() { "1" } else { "self" };
        self.proc(process).join(file)
    }

    /// A file of /sys.
    pub fn sys(&self, file: &str) -> PathBuf {
        self.path(&Path::new("/sys").join(file))
    }
}
