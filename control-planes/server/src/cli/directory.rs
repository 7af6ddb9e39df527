//! Where a control plane on this machine keeps its state.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Where it is for root.
pub(crate) const FOR_ROOT: &str = "/var/lib/turbopanel";

/// What was asked for, else the default of the user who runs this.
pub(crate) fn choose(asked: Option<PathBuf>) -> PathBuf {
    asked
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or_else(default)
}

#[expect(
    clippy::disallowed_methods,
    reason = "XDG_STATE_HOME and HOME are the desktop's, not settings of a command"
)]
fn default() -> PathBuf {
    // The effective user owns the process's own entry.
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let absolute = |name| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    if root {
        Path::new(FOR_ROOT).to_owned()
    } else if let Some(state) = absolute("XDG_STATE_HOME") {
        state.join("turbopanel")
    } else if let Some(home) = absolute("HOME") {
        home.join(".local/state/turbopanel")
    } else {
        Path::new(FOR_ROOT).to_owned()
    }
}
