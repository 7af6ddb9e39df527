//! Work that outlives the call that began it.
//!
//! ```text
//!  a service ── begin ──▶ Operations ── one task each ──▶ work ── Reporter ──▶ Journal ──▶ Watch (any number)
//!                              └── store: a record at the begin, another at the end
//! ```
//!
//! At most once: the record is on the disk before the work begins, and a `request_id` finds the operation
//! that has it. What ran when the agent ended is UNKNOWN afterwards.

mod journal;
mod store;

use std::{
    collections::HashMap,
    future::Future,
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;
use ring::digest::{SHA256, digest};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Status};

use crate::{
    proto::{self, ErrorReason, OperationResult, OperationState},
    services::error::{self, invalid, status},
};
use journal::Journal;
pub use journal::{Reporter, Watch};
use store::{Record, Store};

/// How long an operation is kept after its end.
const KEPT: Duration = Duration::from_secs(30 * 60);
/// How many ended ones are kept.
const MOST_ENDED: usize = 256;
/// How many may run.
const MOST_RUNNING: usize = 64;
/// How many bytes of events all ended ones may hold.
const MOST_BYTES: usize = 16 << 20;

/// What begins.
#[derive(Debug, Clone)]
pub struct Begin {
    /// What is done, for example "image.pull".
    pub kind: &'static str,
    /// What it is done to.
    pub target: String,
    /// As the caller said; may be empty.
    pub request_id: String,
    /// What is asked for, without secrets: a repeat of the `request_id` must ask for the same.
    pub asked: Vec<u8>,
}

/// The operations of one agent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Operations {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    known: Mutex<Known>,
    tasks: TaskTracker,
    stop: CancellationToken,
    running: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Known {
    /// The oldest first.
    operations: Vec<Arc<Entry>>,
    by_request: HashMap<String, Arc<Entry>>,
}

#[derive(Debug)]
struct Entry {
    journal: Journal,
    fingerprint: Vec<u8>,
    cancel: CancellationToken,
}

impl Operations {
    /// Those that the directory still holds, none if there is no directory. Work runs in `tasks`, until `stop`.
    pub fn open(state_dir: Option<PathBuf>, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let (store, records) = Store::open(state_dir);
        let mut known = Known::default();
        for record in records {
            known.add(Arc::new(Entry {
                fingerprint: record.fingerprint.clone(),
                journal: Journal::restored(record),
                cancel: CancellationToken::new(),
            }));
        }
        let operations = Self {
            inner: Arc::new(Inner {
                store,
                known: Mutex::new(known),
                tasks,
                stop,
                running: watch::Sender::new(0),
            }),
        };
        drop(operations.known());
        operations
    }

    /// Begins an operation, or finds the one that has this `request_id`. The watch is of its events from the start.
    /// Unless `work` ends by itself when it is asked to, it is dropped where it stands when it is cancelled.
    pub fn begin<W, F>(&self, begin: Begin, work: W) -> Result<Watch, Status>
    where
        W: FnOnce(Reporter) -> F,
        F: Future<Output = Result<OperationResult, Status>> + Send + 'static,
    {
        let request_id = begin.request_id;
        if request_id.len() > 128 || !request_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            let mend = "give at most 128 printable ASCII characters without blanks";
            return Err(invalid("request_id", &request_id, mend));
        }
        let mut asked = begin.kind.as_bytes().to_vec();
        asked.push(0);
        asked.extend(begin.asked);
        let fingerprint = digest(&SHA256, &asked).as_ref().to_vec();
        let mut known = self.known();
        if let Some(entry) = known.by_request.get(&request_id) {
            if entry.fingerprint == fingerprint {
                return Ok(entry.journal.watch(0));
            }
            let message = "another request has used this request_id: choose a new one for each thing that is to be done";
            let id = entry.journal.operation().id;
            return Err(status(
                Code::AlreadyExists,
                ErrorReason::RequestIdInUse,
                message,
                &[("request_id", &request_id), ("operation", &id)],
            ));
        }
        if *self.inner.running.borrow() >= MOST_RUNNING {
            let message = format!(
                "{MOST_RUNNING} operations run already: wait until one has ended, or cancel one"
            );
            let (code, reason) = (Code::ResourceExhausted, ErrorReason::LimitReached);
            let limit = [("limit", "operations")];
            return Err(status(code, reason, message, &limit));
        }
        let operation = proto::Operation {
            id: turbopanel_tunnel::Instance::random().to_string(),
            request_id,
            kind: begin.kind.to_owned(),
            target: begin.target,
            state: OperationState::Running.into(),
            created_at: Some(SystemTime::now().into()),
            ..proto::Operation::default()
        };
        let entry = Arc::new(Entry {
            journal: Journal::new(operation),
            fingerprint,
            cancel: CancellationToken::new(),
        });
        known.add(Arc::clone(&entry));
        drop(known);
        self.inner.running.send_modify(|running| *running += 1);
        let watch = entry.journal.watch(0);
        let work = work(Reporter::new(entry.journal.clone(), entry.cancel.clone()));
        let operations = self.clone();
        self.inner.tasks.spawn(async move {
            let ended = operations.run(&entry, work).await;
            // Whoever sees it ended may begin the next.
            operations
                .inner
                .running
                .send_modify(|running| *running -= 1);
            entry.journal.end(ended);
            drop(operations.known());
        });
        Ok(watch)
    }

    async fn run(
        &self,
        entry: &Arc<Entry>,
        work: impl Future<Output = Result<OperationResult, Status>>,
    ) -> proto::Operation {
        let (journal, store) = (&entry.journal, &self.inner.store);
        let record = Record::begun(journal.operation(), entry.fingerprint.clone());
        if let Err(failed) = store.write(record).await {
            if journal.operation().request_id.is_empty() {
                tracing::warn!(error = %failed, "an operation is not recorded: after a restart of the agent nobody can ask for it");
            } else {
                // Nothing was done: the same request may try again.
                self.known().forget(&journal.operation().request_id);
                return journal.ending(OperationState::Failed, Some(failed.status()), None);
            }
        }
        let work = AssertUnwindSafe(work).catch_unwind();
        tokio::pin!(work);
        let (state, error, result) = tokio::select! {
            biased;
            done = &mut work => match done {
                Ok(Ok(result)) => (OperationState::Succeeded, None, Some(result)),
                Ok(Err(_)) if entry.cancel.is_cancelled() => (OperationState::Cancelled, None, None),
                Ok(Err(error)) => (OperationState::Failed, Some(error), None),
                Err(_) => (OperationState::Failed, Some(error::fault("an operation panicked")), None),
            },
            () = journal.dropped_when(&entry.cancel) => (OperationState::Cancelled, None, None),
            () = self.inner.stop.cancelled() => (OperationState::Unknown, Some(error::stopping()), None),
        };
        let ended = journal.ending(state, error, result);
        // First recorded, then told.
        let (fingerprint, events) = (entry.fingerprint.clone(), journal.events());
        let record = Record::ended(ended.clone(), fingerprint, events);
        if let Err(failed) = store.write(record).await {
            tracing::warn!(error = %failed, "the end of an operation is not recorded");
        }
        ended
    }

    /// The operations, newest first.
    pub fn list(&self) -> Vec<proto::Operation> {
        let known = self.known();
        let operations = known.operations.iter().rev();
        operations.map(|entry| entry.journal.operation()).collect()
    }

    /// One of them.
    pub fn get(&self, id: &str) -> Result<proto::Operation, Status> {
        Ok(self.find(id)?.journal.operation())
    }

    /// Its events after this position.
    pub fn watch(&self, id: &str, after: u64) -> Result<Watch, Status> {
        Ok(self.find(id)?.journal.watch(after))
    }

    /// Asks it to end. Whether it had ended already.
    pub fn cancel(&self, id: &str) -> Result<bool, Status> {
        let entry = self.find(id)?;
        entry.cancel.cancel();
        Ok(entry.journal.ended())
    }

    /// Waits until none runs.
    pub async fn idle(&self) {
        let mut running = self.inner.running.subscribe();
        // The sender is held by this very value.
        let _ = running.wait_for(|running| *running == 0).await;
    }

    fn find(&self, id: &str) -> Result<Arc<Entry>, Status> {
        let known = self.known();
        let found = known.operations.iter().find(|entry| entry.journal.is(id));
        found.cloned().ok_or_else(|| {
            status(
                Code::NotFound,
                ErrorReason::OperationNotFound,
                "there is no such operation, or it ended more than 30 minutes ago: ListOperations shows those that are kept",
                &[("operation", id)],
            )
        })
    }

    /// What is known, without what is too old.
    fn known(&self) -> MutexGuard<'_, Known> {
        let known = self.inner.known.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        let forgotten = known.expire();
        self.inner.store.remove(forgotten);
        known
    }
}

impl Known {
    fn add(&mut self, entry: Arc<Entry>) {
        let request_id = entry.journal.operation().request_id;
        if !request_id.is_empty() {
            self.by_request.insert(request_id, Arc::clone(&entry));
        }
        self.operations.push(entry);
    }

    fn forget(&mut self, request_id: &str) {
        self.by_request.remove(request_id);
    }

    /// Drops those that ended too long ago, or that are too many. Returns their ids.
    fn expire(&mut self) -> Vec<String> {
        let mut ended = self
            .operations
            .iter()
            .filter(|entry| entry.journal.ended())
            .count();
        let now = SystemTime::now();
        let mut forgotten = Vec::new();
        self.operations.retain(|entry| {
            let Some(at) = entry.journal.ended_at() else {
                return true;
            };
            // A clock that was set back makes it no older.
            let age = now.duration_since(at).unwrap_or_default();
            let keep = age <= KEPT && ended <= MOST_ENDED;
            if !keep {
                ended -= 1;
                forgotten.push(entry.journal.operation().id);
            }
            keep
        });
        if !forgotten.is_empty() {
            self.by_request
                .retain(|_, entry| !forgotten.iter().any(|id| entry.journal.is(id)));
        }
        let mut bytes: usize = 0;
        for entry in self.operations.iter().rev() {
            bytes += entry.journal.bytes();
            if bytes > MOST_BYTES && entry.journal.ended() {
                bytes -= entry.journal.shorten();
            }
        }
        forgotten
    }
}
