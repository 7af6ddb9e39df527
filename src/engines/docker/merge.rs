//! The logs of many containers as one, ordered by time.
//!
//! ```text
//!  selection ──▶ sources ──readings──▶ queues ──by time──▶ lines
//!      ▲            │ each: Stored ─▶ Live ─▶ Idle ─▶ Live …
//!   changes ────────┘
//! ```
//! While any source reads what was stored, its next line is waited for, so the order is exact. Once all are live, a line
//! waits a moment for older ones of others. Lines of one container keep the order in which the engine stored
//! them, whatever their times say. No task runs for it: what nobody asks for stays in the engine's sockets, and
//! dropping it ends everything. What is held is bounded by the number of sources.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};

use super::{
    container::{Container, State},
    engine::Engine,
    error::Error,
    follow::{Changes, MergeRequest, Selected, Selection},
    lines::Line,
    logs::LogEnd,
    names::{ContainerRef, NameError},
    position::Position,
    reader::{Gap, Reader, Reading, Rest},
    source::{Label, Phase, Source, SourceEnd},
    sources::Sources,
    tail,
};

/// The most containers whose logs are merged.
pub const MOST: usize = 1000;
/// The digits of an id by which a place in a log is kept.
pub const ID_DIGITS: usize = 16;
/// So many logs are opened at a time.
const OPENING: usize = 8;
/// The time between two looks at the engine's list.
const LISTS: Duration = Duration::from_millis(250);

/// What comes of merged logs.
#[derive(Debug)]
pub enum Step {
    /// At least one line, each with its source.
    Lines(Vec<(u32, Line)>),
    /// Before the source's next line some may be missing.
    Gap(u32, Gap),
    /// No more lines of this source come, for now or for good.
    SourceEnd(u32, Label, SourceEnd),
    /// All that was asked for was given.
    End,
}

/// Logs that are being merged.
pub struct Merge {
    engine: Engine,
    request: MergeRequest,
    sources: Sources,
    readings: FuturesUnordered<BoxFuture<'static, (u32, Reading)>>,
    permits: Arc<Semaphore>,
    changes: Option<Changes>,
    listing: Option<BoxFuture<'static, Result<Selected, Error>>>,
    list_at: Option<Instant>,
    listed_at: Instant,
    steps: VecDeque<Step>,
}

impl std::fmt::Debug for Merge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge").finish_non_exhaustive()
    }
}

impl Engine {
    /// Reads the logs of containers as one.
    pub async fn merge(&self, mut request: MergeRequest) -> Result<Merge, Error> {
        request.follow &= request.until.is_none_or(|until| until > now());
        // Before the first list, so that nothing falls between both.
        let changes = match request.follow {
            true => Some(self.changes().await?),
            false => None,
        };
        let before = request.places.iter().flat_map(|places| places.keys());
        let before = before.filter_map(|digits| digits.parse().ok());
        let selected = self.select(&request.selection.and_found(before)).await?;
        if let (Some(missing), None) = (&selected.missing, &request.places) {
            return Err(Error::ContainerNotFound {
                container: missing.to_string(),
            });
        }
        let mut merge = Merge {
            engine: self.clone(),
            sources: Sources::default(),
            readings: FuturesUnordered::new(),
            permits: Arc::new(Semaphore::new(OPENING)),
            changes,
            listing: None,
            list_at: None,
            listed_at: Instant::now(),
            steps: VecDeque::new(),
            request,
        };
        for container in selected.containers {
            merge.add(&container)?;
        }
        match merge.request.tail {
            Some(most) if merge.request.places.is_none() => merge.take_tail(most).await?,
            _ => {
                let all: Vec<u32> = merge.sources.all.keys().copied().collect();
                for index in all {
                    merge.read(index, Phase::Stored);
                }
            }
        }
        Ok(merge)
    }
}

impl Merge {
    /// The source's container. None when it is no more.
    pub fn label(&self, index: u32) -> Option<&Label> {
        Some(&self.sources.all.get(&index)?.label)
    }

    /// A line that was given is dealt with: the source's place is behind it.
    pub fn settled(&mut self, index: u32, line: &Line) {
        if let Some(source) = self.sources.all.get_mut(&index) {
            source.given.push(line);
        }
    }

    /// Where each log is, behind what is settled.
    pub fn places(&self) -> impl Iterator<Item = (&str, &Position)> {
        let all = self.sources.all.values();
        all.map(|source| (source.label.id.as_str(), &source.given))
    }

    /// What comes next. Not to be called again after an error.
    pub async fn next(&mut self) -> Result<Step, Error> {
        loop {
            if let Some((index, reading)) = self.sources.release() {
                self.took(index, reading)?;
            }
            if let Some(step) = self.steps.pop_front() {
                return Ok(step);
            }
            let lines = self.sources.give(Instant::now());
            if !lines.is_empty() {
                self.read_on();
                return Ok(Step::Lines(lines));
            }
            let ends = self.sources.take_ends().into_iter();
            let ends = ends.map(|(index, label, end)| Step::SourceEnd(index, label, end));
            self.steps.extend(ends);
            if !self.steps.is_empty() {
                continue;
            }
            self.read_on();
            let follows =
                self.changes.is_some() && self.request.until.is_none_or(|until| until > now());
            if !follows
                && self
                    .sources
                    .all
                    .values()
                    .all(|one| one.phase == Phase::Idle)
            {
                return Ok(Step::End);
            }
            self.wait().await?;
        }
    }

    async fn wait(&mut self) -> Result<(), Error> {
        let sleep = |at: Option<Instant>| async move {
            match at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let left = self.request.until.filter(|_| self.changes.is_some());
        let left = left.map(|until| {
            Duration::from_nanos(u64::try_from(until.saturating_sub(now())).unwrap_or(0))
        });
        let over =
            left.and_then(|left| Instant::now().checked_add(left.max(Duration::from_millis(10))));
        tokio::select! {
            Some((index, reading)) = self.readings.next() => self.took(index, reading),
            () = sleep(self.sources.due()) => Ok(()),
            () = sleep(over) => Ok(()),
            selected = async {
                match &mut self.listing {
                    Some(listing) => listing.await,
                    None => std::future::pending().await,
                }
            } => {
                self.listing = None;
                self.listed(selected?)
            }
            () = sleep(self.list_at), if self.listing.is_none() => {
                (self.list_at, self.listed_at) = (None, Instant::now());
                let found = self.sources.all.values().map(|source| source.id.clone());
                let (engine, selection) = (self.engine.clone(), self.request.selection.and_found(found));
                self.listing = Some(Box::pin(async move { engine.select(&selection).await }));
                Ok(())
            }
            changed = async {
                match &mut self.changes {
                    Some(changes) => changes.next().await,
                    None => std::future::pending().await,
                }
            } => {
                self.list_soon();
                changed.map(|ids| self.sources.touch(&ids))
            }
        }
    }

    fn list_soon(&mut self) {
        if self.changes.is_some() && self.list_at.is_none() {
            self.list_at = Some(self.listed_at + LISTS);
        }
    }

    fn add(&mut self, container: &Container) -> Result<u32, Error> {
        if self.sources.all.len() >= MOST {
            return Err(Error::TooManyContainers { most: MOST });
        }
        let id = container.id.parse();
        let id: ContainerRef = id.map_err(|error: NameError| Error::Protocol(error.to_string()))?;
        let digits = container.id.get(..ID_DIGITS).unwrap_or_default();
        let places = self.request.places.as_ref();
        let place = places.and_then(|places| places.get(digits)).cloned();
        let source = Source::new(id, container, place.unwrap_or_default());
        Ok(self.sources.add(source))
    }

    /// Begins to read a source from where it was read to.
    fn read(&mut self, index: u32, phase: Phase) {
        if let Some(source) = self.sources.all.get_mut(&index) {
            (source.phase, source.touched) = (phase, false);
            let request = self.request.of(source.id.clone(), phase == Phase::Live);
            let reader = Reader::new(&self.engine, request, source.read.clone()).near_the_end();
            let reading = Box::new(reader).next(Arc::clone(&self.permits));
            self.readings
                .push(Box::pin(async move { (index, reading.await) }));
        }
    }

    /// Reads on wherever something is missing or there is room.
    fn read_on(&mut self) {
        let room = self.sources.has_room();
        for (index, source) in &mut self.sources.all {
            let wanted = source.queue.is_empty() || (room && source.phase == Phase::Live);
            if let Some(reader) = source.parked.take_if(|_| wanted) {
                let (index, reading) = (*index, reader.next(Arc::clone(&self.permits)));
                self.readings
                    .push(Box::pin(async move { (index, reading.await) }));
            }
        }
    }

    async fn take_tail(&mut self, most: u32) -> Result<(), Error> {
        let each = self.sources.all.iter().map(|(index, source)| {
            let mut request = self.request.of(source.id.clone(), false);
            // The last one of all is looked at to know where to go on.
            request.tail = Some(most.max(1));
            (*index, request)
        });
        let last = tail::last(&self.engine, each.collect(), most).await?;
        let wants_all = matches!(self.request.selection, Selection::Names(_));
        for (index, error) in last.unreadable {
            match error {
                error if wants_all => return Err(error),
                error => self.failed(index, &error),
            }
        }
        for (index, place, lines) in last.logs {
            if let Some(source) = self.sources.all.get_mut(&index) {
                (source.given, source.read) = (place.clone(), place);
            }
            self.sources.take(index, lines, Instant::now());
            self.stored_ended(index);
        }
        Ok(())
    }

    /// A reading came to something.
    fn took(&mut self, index: u32, reading: Reading) -> Result<(), Error> {
        let Some(reading) = self.sources.hold(index, reading) else {
            return Ok(());
        };
        if let Some(gap) = reading.gap {
            self.steps.push_back(Step::Gap(index, gap));
        }
        self.sources.take(index, reading.lines, Instant::now());
        if let Some(source) = self.sources.all.get_mut(&index) {
            match reading.rest {
                Ok(Rest::More(reader)) => source.parked = Some(reader),
                Ok(Rest::End(_)) if source.phase == Phase::Stored => self.stored_ended(index),
                Ok(Rest::End(end)) => {
                    source.phase = Phase::Idle;
                    let over = self.request.until.is_some_and(|until| until <= now());
                    if end == LogEnd::ContainerEnded || !over {
                        let known = source.told == Some(SourceEnd::Ended);
                        source.ended = (!known).then_some(SourceEnd::Ended);
                        self.list_soon();
                    }
                }
                Err(
                    error @ (Error::Unreachable { .. }
                    | Error::NoAnswer { .. }
                    | Error::AccessDenied { .. }),
                ) => return Err(error),
                Err(error @ Error::LogsNotReadable { .. })
                    if matches!(self.request.selection, Selection::Names(_)) =>
                {
                    return Err(error);
                }
                Err(error) => self.failed(index, &error),
            }
        }
        self.read_on();
        Ok(())
    }

    fn stored_ended(&mut self, index: u32) {
        if let Some(source) = self.sources.all.get_mut(&index) {
            source.phase = Phase::Idle;
            if self.changes.is_some() && source.runs {
                self.read(index, Phase::Live);
            }
        }
    }

    fn failed(&mut self, index: u32, error: &Error) {
        if let Some(source) = self.sources.all.get_mut(&index) {
            source.phase = Phase::Idle;
            source.ended = Some(match error {
                Error::ContainerNotFound { .. } => SourceEnd::Removed,
                error => SourceEnd::Unreadable(error.to_string()),
            });
            source.removed |= matches!(error, Error::ContainerNotFound { .. });
        }
    }

    /// Compares with what the engine lists now.
    fn listed(&mut self, selected: Selected) -> Result<(), Error> {
        let mut compared = self.sources.compare(selected.containers);
        for container in compared.new {
            let index = self.add(&container)?;
            // One that was only made has printed nothing; its start will be told.
            if container.state != State::Created {
                compared.start.push(index);
            }
        }
        for index in compared.start {
            self.read(index, Phase::Live);
        }
        if compared.again {
            self.list_soon();
        }
        Ok(())
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}
