//! The durable state: agents and tokens in SQLite, in the data directory.
//!
//! An acknowledged write survives kill -9 and loss of power: write-ahead log, synchronised at
//! every commit. One thread owns the connection; callers queue for it in a bounded channel, so
//! that nothing here blocks an async thread. [`crate::registry`] is its only user.

mod agents;
mod data_dir;
mod error;
mod schema;
mod time;
mod tokens;

use std::{path::Path, thread};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

pub use agents::{AgentRecord, Seen};
pub use data_dir::DataDir;
pub(crate) use data_dir::sync_dir;
pub use error::StoreError;
pub use tokens::{TokenKind, TokenRecord};

/// How many calls may wait for the store.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Everything that the store holds, read once at start.
#[derive(Debug, Default)]
pub struct Contents {
    /// By name.
    pub agents: Vec<AgentRecord>,
    /// Oldest first, revoked ones included.
    pub tokens: Vec<TokenRecord>,
}

/// A handle to the store's thread. The thread ends when the last handle is gone.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
}

impl Store {
    /// Opens the store of a data directory, brings its schema up to date and reads it.
    /// The directory stays locked until [`Closing`] says that the thread has ended.
    pub async fn open(dir: &Path) -> Result<(Self, Contents, Closing), StoreError> {
        let dir = dir.to_owned();
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let (opened, open) = oneshot::channel();
        let (ended, closing) = oneshot::channel();
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                let (lock, mut connection) = match open_and_read(&dir) {
                    Ok((lock, connection, contents)) => {
                        if opened.send(Ok(contents)).is_err() {
                            return;
                        }
                        (lock, connection)
                    }
                    Err(error) => {
                        let _ = opened.send(Err(error));
                        return;
                    }
                };
                while let Some(job) = queue.blocking_recv() {
                    job(&mut connection);
                }
                if let Err((_, error)) = connection.close() {
                    tracing::warn!(%error, "the store did not close cleanly; the next start repairs it");
                }
                drop(lock);
                let _ = ended.send(());
            })
            .map_err(StoreError::Thread)?;
        let contents = open.await.map_err(|_| StoreError::Closed)??;
        Ok((Self { jobs }, contents, Closing(closing)))
    }

    /// Runs `job` on the store's thread. Once queued it runs, whether or not the caller waits.
    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ = answer.send(job(connection));
        });
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        let result = answered.await.map_err(|_| StoreError::Closed)?;
        result.map_err(StoreError::Sqlite)
    }
}

/// Resolves when the store's thread has closed the file and unlocked the directory.
#[derive(Debug)]
pub struct Closing(oneshot::Receiver<()>);

impl Closing {
    /// Waits for the end. Every [`Store`] must be dropped first.
    pub async fn closed(self) {
        let _ = self.0.await;
    }
}

fn open_and_read(dir: &Path) -> Result<(DataDir, Connection, Contents), StoreError> {
    let dir = DataDir::open(dir)?;
    let connection = schema::open(&dir)?;
    let contents = Contents {
        agents: agents::all(&connection).map_err(StoreError::Sqlite)?,
        tokens: tokens::all(&connection).map_err(StoreError::Sqlite)?,
    };
    Ok((dir, connection, contents))
}
