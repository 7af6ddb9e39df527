//! What happened in one operation: a bounded list of events that any number of callers follow.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use prost::Message;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::store::Record;
use crate::{
    excerpt::{SENTENCE, VALUE, cut},
    proto::{
        ErrorReason, Operation, OperationError, OperationEvent, OperationGap, OperationOutput,
        OperationProgress, OperationResult, OperationState, OutputStream, operation_event::Event,
    },
    services::error,
};

/// Bytes of events that are kept.
const MOST_BYTES: usize = 1 << 20;
/// What an event costs beside its content.
const OVERHEAD: usize = 64;
/// One event's output, at most.
const PIECE: usize = 64 << 10;

/// The events of one operation. Clones are the same journal.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: String,
    log: Mutex<Log>,
    /// The last position.
    last: watch::Sender<u64>,
    /// The work ends by itself when it is cancelled, and is not dropped.
    ends_itself: watch::Sender<bool>,
}

#[derive(Debug)]
struct Log {
    operation: Operation,
    events: VecDeque<OperationEvent>,
    bytes: usize,
    last: u64,
    /// The position of the last event that was dropped for want of room, and how many were.
    dropped: (u64, u64),
    ended_at: Option<SystemTime>,
}

impl Journal {
    pub(super) fn new(operation: Operation) -> Self {
        let journal = Self::empty(operation.clone());
        journal.add(Event::Operation(operation));
        journal
    }

    /// As it was recorded. What ran then is unknown now.
    pub(super) fn restored(record: Record) -> Self {
        let operation = record.operation.unwrap_or_default();
        let running = operation.state() == OperationState::Running;
        let journal = Self::empty(operation.clone());
        {
            let mut log = journal.log();
            for event in record.events {
                log.last = log.last.max(event.position);
                log.bytes += cost(&event);
                log.events.push_back(event);
            }
            log.ended_at = operation
                .finished_at
                .and_then(|at| SystemTime::try_from(at).ok());
        }
        journal.add(Event::Operation(operation));
        if running {
            let error = error::status(
                Code::Unknown,
                ErrorReason::OutcomeUnknown,
                "the agent ended while this ran: look at what it has done before asking for it again",
                &[],
            );
            journal.end(journal.ending(OperationState::Unknown, Some(error), None));
        }
        journal
    }

    fn empty(operation: Operation) -> Self {
        Self {
            inner: Arc::new(Inner {
                id: operation.id.clone(),
                log: Mutex::new(Log {
                    operation,
                    events: VecDeque::new(),
                    bytes: 0,
                    last: 0,
                    dropped: (0, 0),
                    ended_at: None,
                }),
                last: watch::Sender::new(0),
                ends_itself: watch::Sender::new(false),
            }),
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        let log = self.inner.log.lock();
        log.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is(&self, id: &str) -> bool {
        self.inner.id == id
    }

    pub(super) fn operation(&self) -> Operation {
        self.log().operation.clone()
    }

    pub(super) fn ended(&self) -> bool {
        self.log().ended_at.is_some()
    }

    pub(super) fn ended_at(&self) -> Option<SystemTime> {
        self.log().ended_at
    }

    pub(super) fn events(&self) -> Vec<OperationEvent> {
        self.log().events.iter().cloned().collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.log().bytes
    }

    /// Keeps the last event only. How much was given up.
    pub(super) fn shorten(&self) -> usize {
        let mut log = self.log();
        let before = log.bytes;
        while log.events.len() > 1 {
            log.drop_oldest();
        }
        before - log.bytes
    }

    fn add(&self, event: Event) {
        let last = self.log().add(event);
        self.inner.last.send_replace(last);
    }

    /// The operation as it ends with this. Nobody sees it before [`Journal::end`].
    pub(super) fn ending(
        &self,
        state: OperationState,
        error: Option<Status>,
        result: Option<OperationResult>,
    ) -> Operation {
        Operation {
            state: state.into(),
            finished_at: Some(SystemTime::now().into()),
            error: error.as_ref().map(told),
            result,
            ..self.operation()
        }
    }

    /// Ends the operation.
    pub(super) fn end(&self, operation: Operation) {
        let last = {
            let mut log = self.log();
            log.operation = operation.clone();
            log.ended_at = Some(SystemTime::now());
            log.add(Event::Operation(operation))
        };
        self.inner.last.send_replace(last);
    }

    /// Cancelled, and the work does not end by itself.
    pub(super) async fn dropped_when(&self, cancel: &CancellationToken) {
        cancel.cancelled().await;
        let mut ends_itself = self.inner.ends_itself.subscribe();
        // The sender is held by this very value.
        let _ = ends_itself.wait_for(|ends_itself| !ends_itself).await;
    }

    pub(super) fn watch(&self, after: u64) -> Watch {
        Watch {
            journal: self.clone(),
            after,
            last: self.inner.last.subscribe(),
        }
    }
}

impl Log {
    fn add(&mut self, event: Event) -> u64 {
        if let Event::Progress(progress) = &event {
            self.forget_progress(&progress.item);
        }
        self.last += 1;
        let event = OperationEvent {
            position: self.last,
            time: Some(SystemTime::now().into()),
            event: Some(event),
        };
        self.bytes += cost(&event);
        self.events.push_back(event);
        while self.bytes > MOST_BYTES && self.events.len() > 1 {
            self.drop_oldest();
        }
        self.last
    }

    /// Later progress of an item stands for the earlier one. It is looked for among the latest events only.
    fn forget_progress(&mut self, item: &str) {
        let old = self.events.iter().rev().take(256).position(|event| {
            matches!(&event.event, Some(Event::Progress(progress)) if progress.item == item)
        });
        let index = old.and_then(|back| self.events.len().checked_sub(back + 1));
        if let Some(event) = index.and_then(|index| self.events.remove(index)) {
            self.bytes -= cost(&event);
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= cost(&event);
            self.dropped = (event.position, self.dropped.1 + 1);
        }
    }

    /// The first event after this position; a gap in its place when events before it were dropped.
    fn after(&self, after: u64) -> Option<OperationEvent> {
        if after < self.dropped.0 {
            let events = self.dropped.1;
            return Some(OperationEvent {
                position: self.dropped.0,
                time: Some(SystemTime::now().into()),
                event: Some(Event::Gap(OperationGap { events })),
            });
        }
        let index = self.events.partition_point(|event| event.position <= after);
        self.events.get(index).cloned()
    }
}

fn cost(event: &OperationEvent) -> usize {
    event.encoded_len() + OVERHEAD
}

/// A status as an operation keeps it.
fn told(status: &Status) -> OperationError {
    let (reason, metadata) = match status.get_details_error_info() {
        Some(info) => (ErrorReason::from_str_name(&info.reason), info.metadata),
        None => (None, HashMap::new()),
    };
    OperationError {
        code: status.code().into(),
        reason: reason.unwrap_or_default().into(),
        message: status.message().to_owned(),
        metadata,
    }
}

/// Follows the events of an operation. Whoever drops it ends nothing.
#[derive(Debug)]
pub struct Watch {
    journal: Journal,
    after: u64,
    last: watch::Receiver<u64>,
}

impl Watch {
    /// The next event; none after the last one.
    pub async fn next(&mut self) -> Option<OperationEvent> {
        loop {
            self.last.mark_unchanged();
            let (next, ended) = {
                let log = self.journal.log();
                (log.after(self.after), log.ended_at.is_some())
            };
            if let Some(event) = next {
                self.after = event.position;
                return Some(event);
            }
            if ended || self.last.changed().await.is_err() {
                return None;
            }
        }
    }

    /// The events as a call answers them.
    pub fn stream(self) -> impl Stream<Item = Result<OperationEvent, Status>> + Send + 'static {
        stream::unfold(self, |mut watch| async {
            let event = watch.next().await?;
            Some((Ok(event), watch))
        })
    }
}

/// Where the work of an operation says how it gets on.
#[derive(Debug, Clone)]
pub struct Reporter {
    journal: Journal,
    cancel: CancellationToken,
}

impl Reporter {
    pub(super) fn new(journal: Journal, cancel: CancellationToken) -> Self {
        Self { journal, cancel }
    }

    /// An item got on; see `OperationProgress`.
    pub fn progress(&self, item: &str, status: &str, current: u64, total: u64) {
        self.journal.add(Event::Progress(OperationProgress {
            item: cut(item, VALUE).into_owned(),
            status: cut(status, SENTENCE).into_owned(),
            current,
            total,
        }));
    }

    /// A program printed something.
    pub fn output(&self, stream: OutputStream, mut content: Bytes) {
        while !content.is_empty() {
            let content = content.split_to(content.len().min(PIECE));
            self.journal.add(Event::Output(OperationOutput {
                stream: stream.into(),
                content,
            }));
        }
    }

    /// Cancelled when the operation is to end. Who asks for it takes it upon itself to end, with an error once it has
    /// tidied up: from then on the work is not dropped when it is cancelled.
    pub fn cancelled(&self) -> CancellationToken {
        self.journal.inner.ends_itself.send_replace(true);
        self.cancel.clone()
    }
}
