//! Operations on the disk: a small file each, so that their results outlive the agent.
//!
//! The directory belongs to one agent at a time. Without it, and where it cannot be written, operations live in
//! memory alone.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use prost::Message;
use tonic::{Code, Status};

use crate::{
    proto::{ErrorReason, Operation, OperationEvent},
    services::error,
};

/// A record, at most: the events that an operation keeps, and room.
const MOST_BYTES: u64 = 4 << 20;
/// Records that are read at the start, at most.
const MOST_RECORDS: usize = 1024;
const ENDING: &str = "operation";

/// What is written of an operation.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Record {
    #[prost(message, optional, tag = "1")]
    pub(super) operation: Option<Operation>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) fingerprint: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    pub(super) events: Vec<OperationEvent>,
}

impl Record {
    pub(super) fn begun(operation: Operation, fingerprint: Vec<u8>) -> Self {
        Self {
            operation: Some(operation),
            fingerprint,
            events: Vec::new(),
        }
    }

    /// With all but the last event, which the operation itself is.
    pub(super) fn ended(
        operation: Operation,
        fingerprint: Vec<u8>,
        events: Vec<OperationEvent>,
    ) -> Self {
        Self {
            operation: Some(operation),
            fingerprint,
            events,
        }
    }

    fn id(&self) -> &str {
        self.operation
            .as_ref()
            .map_or("", |operation| &operation.id)
    }
}

/// What could not be written.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} cannot be written: {source}; make room or let the agent's user write there (AGENT_STATE_DIR), or leave out request_id, which asks for a record", path.display()
)]
pub(super) struct NotWritable {
    path: PathBuf,
    source: io::Error,
}

impl NotWritable {
    pub(super) fn status(&self) -> Status {
        error::status(
            Code::FailedPrecondition,
            ErrorReason::StateNotWritable,
            self.to_string(),
            &[("path", &self.path.display().to_string())],
        )
    }
}

/// Where records are kept. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Store {
    /// None when records are kept in memory alone.
    dir: Option<Arc<Dir>>,
}

#[derive(Debug)]
struct Dir {
    path: PathBuf,
    /// Whether another agent had it: then nothing is written.
    taken: bool,
    _lock: Option<File>,
}

impl Store {
    /// Opens the directory below this one, which need not exist, and reads what it holds, oldest first.
    pub(super) fn open(state_dir: Option<PathBuf>) -> (Self, Vec<Record>) {
        let Some(state_dir) = state_dir else {
            return (Self { dir: None }, Vec::new());
        };
        let path = state_dir.join("operations");
        let lock = private_dir(&path).and_then(|()| lock(&path));
        let (lock, taken) = match lock {
            Ok(Some(lock)) => (Some(lock), false),
            Ok(None) => {
                tracing::warn!(path = %path.display(), "another agent uses this state directory: operations are not recorded; give each agent an AGENT_STATE_DIR of its own");
                (None, true)
            }
            // Told when something is to be written.
            Err(_) => (None, false),
        };
        let records = if taken { Vec::new() } else { read_all(&path) };
        let dir = Arc::new(Dir {
            path,
            taken,
            _lock: lock,
        });
        (Self { dir: Some(dir) }, records)
    }

    /// Writes a record in the place of what there was of its operation.
    pub(super) async fn write(&self, record: Record) -> Result<(), NotWritable> {
        let Some(dir) = self.dir.clone() else {
            return Ok(());
        };
        let path = dir.path.join(format!("{}.{ENDING}", record.id()));
        let (writing, at) = (dir.clone(), path.clone());
        let written = tokio::task::spawn_blocking(move || writing.write(&at, &record)).await;
        let written = written.unwrap_or_else(|failed| Err(io::Error::other(failed)));
        written.map_err(|source| NotWritable { path, source })
    }

    /// Removes records, as far as they are there.
    pub(super) fn remove(&self, ids: Vec<String>) {
        let Some(dir) = &self.dir else { return };
        if dir.taken {
            return;
        }
        for id in ids {
            let _ = fs::remove_file(dir.path.join(format!("{id}.{ENDING}")));
        }
    }
}

impl Dir {
    fn write(&self, path: &Path, record: &Record) -> io::Result<()> {
        if self.taken {
            return Err(io::Error::other("another agent uses the directory"));
        }
        private_dir(&self.path)?;
        let fresh = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&record.encode_to_vec())?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(&self.path)?.sync_all()
    }
}

fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// None when somebody else has it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

fn read_all(path: &Path) -> Vec<Record> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    let mut records: Vec<Record> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == ENDING))
        .take(MOST_RECORDS)
        .filter_map(|path| match read(&path) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the record of an operation cannot be read, and is left alone");
                None
            }
        })
        .collect();
    records.sort_by_key(|record| {
        let created = record.operation.as_ref().and_then(|it| it.created_at);
        created.map(|at| (at.seconds, at.nanos))
    });
    records
}

fn read(path: &Path) -> io::Result<Record> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    let record = Record::decode(bytes.as_slice()).map_err(io::Error::other)?;
    let named = path.file_stem().and_then(|stem| stem.to_str());
    if named == Some(record.id()) {
        Ok(record)
    } else {
        Err(io::Error::other("it is of another operation"))
    }
}
