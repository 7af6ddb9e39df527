//! Why the store does not open or does not write.

use std::{io, path::PathBuf};

/// Why the store does not open or does not write. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory or a file in it could not be used.
    #[error("cannot use {}: {source}; give a directory that this user may write with --data-dir", path.display())]
    Directory {
        /// What could not be used.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process serves from the same directory.
    #[error("the data directory {} is in use by another `turbopanel serve`{holder}: stop that one, or choose another directory with --data-dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// " (process 123)", or nothing when unknown.
        holder: String,
    },
    /// A newer version wrote the state.
    #[error("{} was written by a newer turbopanel (schema {found}, this one knows {known}): start that version, or restore the copy of the data directory that was made before the upgrade", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// The file is not this program's, or is damaged.
    #[error("{} is {what}: move it away to start afresh, or restore a copy of the data directory", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// "damaged (…)" or "the file of another program".
        what: String,
    },
    /// SQLite failed.
    #[error("the state could not be read or written: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The thread could not be started.
    #[error("the store's thread could not be started: {0}")]
    Thread(#[source] io::Error),
    /// The store is closed, because the control plane is stopping.
    #[error("the store is closed: the control plane is stopping")]
    Closed,
}
