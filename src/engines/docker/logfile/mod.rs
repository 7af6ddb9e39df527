//! Logs from the engine's own files: what the engine would read, convert and send, read where it lies.
//!
//! ```text
//!  place ── which files ──> tail ── from where ──> records ── json, local ──> FileLogs ──> lines
//!    │                                                │                          │
//!    └── what follows a file (rotation)               └── file, gzip, buffer     └── watch (inotify), the container's end
//! ```
//! It gives what the API gives, line for line, with one exception that `local` tells of. The engine is asked for the
//! container, and, when a log is followed, when the container ends; all else is reading. Files that cannot be read are
//! left to the API.

mod buffer;
mod file;
pub(super) mod follow;
mod gzip;
mod json;
mod local;
mod place;
mod record;
mod records;
mod seek;
mod tail;
mod watch;

use std::{collections::VecDeque, io, path::PathBuf};

use self::{
    follow::Follow,
    place::{Files, Place},
    records::{After, Records, Source, Taken},
};
use super::{
    container::Detail,
    engine::Engine,
    error::Error,
    lines::Line,
    logs::{self, FULL, Gap, GapCause, LogEnd, LogRequest, OVERHEAD, wanted},
};

/// So often a record is waited for whose beginning alone is there.
const WAITS: u32 = 20;
const WAIT: std::time::Duration = std::time::Duration::from_millis(10);

/// How the logs of an engine are found and watched.
#[derive(Debug)]
pub(super) struct LogFiles {
    /// Where the files of the engine's host are.
    pub(super) root: PathBuf,
    watches: watch::Watches,
}

impl LogFiles {
    pub(super) fn below(root: PathBuf) -> Self {
        Self {
            root,
            watches: watch::Watches::default(),
        }
    }
}

/// A log that is read from its files.
#[derive(Debug)]
pub(super) struct FileLogs {
    request: LogRequest,
    place: Place,
    records: Records,
    /// Records that come before the wanted ones.
    skip: u64,
    /// The files that come after the one that is read, each with how many records to skip.
    next: VecDeque<(Source, u64)>,
    follow: Option<Follow>,
    /// Only the record is wanted whose beginning was there.
    only_one: bool,
    waits: u32,
    /// What is missing before the lines that are given next.
    missing: Option<Gap>,
    /// What is missing before the lines that were given last.
    gap: Option<Gap>,
    last_time: Option<i64>,
    /// How many lines were given last.
    last_count: usize,
    ended: Option<LogEnd>,
}

/// The files of a log, not opened yet.
#[derive(Debug)]
pub(super) struct Found {
    place: Place,
}

impl Found {
    /// Opens the files. None when they cannot be read.
    pub(super) async fn open(
        self,
        engine: &Engine,
        request: &LogRequest,
        mut follow: Option<Follow>,
    ) -> Option<FileLogs> {
        if let Some(follow) = &mut follow {
            // Before the files are read, so that nothing is written unseen.
            follow.subscribe(engine, &self.place.folder);
        }
        let opened = FileLogs::begin(self.place, request.clone(), follow).await;
        opened.unwrap_or_else(|error| {
            tracing::debug!(container = %request.container, %error, "a log's files cannot be read: the engine is asked for it");
            None
        })
    }
}

impl FileLogs {
    /// Where the log of a container is, if its files are ones that can be read.
    pub(super) fn find(engine: &Engine, detail: &Detail) -> Option<Found> {
        let place = Place::find(detail, &engine.log_files().root)?;
        Some(Found { place })
    }

    async fn begin(
        place: Place,
        request: LogRequest,
        follow: Option<Follow>,
    ) -> io::Result<Option<Self>> {
        let Some(files) = place.files().await? else {
            return Ok(None);
        };
        let mut next = Self::sources(&place, &request, files).await?;
        // The live file at least.
        let Some((first, skip)) = next.pop_front() else {
            return Ok(None);
        };
        let mut logs = Self {
            records: Records::new(place.format, first),
            request,
            place,
            skip,
            next,
            follow,
            only_one: false,
            waits: 0,
            missing: None,
            gap: None,
            last_time: None,
            last_count: 0,
            ended: None,
        };
        logs.go_live();
        Ok(Some(logs))
    }

    /// The files to read, the oldest first, each with the number of its records that are not wanted.
    async fn sources(
        place: &Place,
        request: &LogRequest,
        files: Files,
    ) -> io::Result<VecDeque<(Source, u64)>> {
        let Files { mut live, older } = files;
        let mut sources = VecDeque::new();
        let end = live.size()?;
        let Some(mut left) = request.tail.map(u64::from) else {
            let at = match request.since {
                Some(since) => seek::find(place.format, &mut live, end, since).await?,
                None => 0,
            };
            sources.push_front((Source::plain(live, at, Some(end)), 0));
            for older in older {
                let mut source = older.source();
                if let (Source::Packed(unpacker), Some(since)) = (&mut source, request.since)
                    && let Ok(Some(last)) = unpacker.last_time().await
                    && last < since
                {
                    continue;
                }
                sources.push_front((source, 0));
            }
            return Ok(sources);
        };
        let begin = Self::tail(place, Source::plain(live.clone(), 0, Some(end)), &mut left).await?;
        let (at, skip) = begin;
        sources.push_front((Source::plain(live, at, Some(end)), skip));
        for older in older {
            if left == 0 {
                break;
            }
            let source = older.source();
            let begin = match &source {
                Source::Plain { file, .. } => {
                    let end = file.size()?;
                    let source = Source::plain(file.clone(), 0, Some(end));
                    Self::tail(place, source, &mut left).await
                }
                Source::Packed(_) => Self::tail(place, older.source(), &mut left).await,
            };
            // One that cannot be unpacked is told when it is read.
            let (begin, skip) = begin.unwrap_or_default();
            sources.push_front(match source {
                Source::Plain { file, .. } => (Source::plain(file, begin, None), skip),
                packed @ Source::Packed(_) => (packed, skip),
            });
        }
        Ok(sources)
    }

    /// Where the last `left` records of a file begin, and how many to skip from there. Lowers `left` by how many there are.
    async fn tail(place: &Place, mut source: Source, left: &mut u64) -> io::Result<(u64, u64)> {
        if let Source::Plain {
            file,
            end: Some(end),
            ..
        } = &mut source
            && let Some(found) = tail::find(place.format, file, *end, *left).await?
        {
            return Ok(match found {
                tail::Tail::From(at) => {
                    *left = 0;
                    (at, 0)
                }
                tail::Tail::All(count) => {
                    *left = left.saturating_sub(count);
                    (0, 0)
                }
            });
        }
        let count = tail::count(place.format, source).await?;
        let skip = count.saturating_sub(*left);
        *left = left.saturating_sub(count);
        Ok((0, skip))
    }

    /// Adds the lines that are there to the batch, at least one; or says how the log ended.
    pub(super) async fn next(&mut self, batch: &mut Vec<Line>) -> Result<Option<LogEnd>, Error> {
        self.gap = None;
        let before = batch.len();
        batch.reserve(self.last_count);
        loop {
            self.take(batch);
            if batch.len() > before {
                self.last_count = batch.len() - before;
                self.gap = self.missing.take();
                return Ok(None);
            }
            if let Some(end) = self.ended {
                self.gap = self.missing.take();
                return Ok(Some(end));
            }
            match self.records.fill().await {
                Ok(0) => self.at_end().await?,
                Ok(_) => {
                    if let Some(follow) = &mut self.follow {
                        follow.read();
                    }
                }
                Err(error) if matches!(self.records.source, Source::Packed(_)) => {
                    tracing::debug!(%error, "a compressed log file is damaged");
                    self.miss(GapCause::Damaged, 0);
                    self.advance();
                }
                Err(error) => return Err(unreadable(&error)),
            }
        }
    }

    /// What is missing right before the lines that were given last.
    pub(super) fn gap(&mut self) -> Option<Gap> {
        self.gap.take()
    }

    /// Takes lines from what was read, until a batch is full.
    fn take(&mut self, batch: &mut Vec<Line>) {
        let before = batch.len();
        while self.ended.is_none() {
            let Taken::Damaged(bytes) = self.take_records(batch) else {
                return;
            };
            if batch.len() > before {
                // What comes behind is given by itself, so that the place of what is missing is known.
                return;
            }
            self.records.pass(bytes);
            self.miss(GapCause::Damaged, bytes as u64);
        }
    }

    fn take_records(&mut self, batch: &mut Vec<Line>) -> Taken {
        let mut size = 0;
        let last = logs::last_time(&self.request);
        let Self {
            request,
            records,
            skip,
            ended,
            last_time,
            only_one,
            ..
        } = self;
        records.take(|found| {
            let record = &found.record;
            if *skip > 0 {
                *skip -= 1;
                return After::GoOn;
            }
            *last_time = Some(record.time);
            if last.is_some_and(|last| record.time > last) {
                // The engine gives nothing that comes behind it either.
                *ended = Some(LogEnd::Complete);
                return After::Stop;
            }
            let stderr = record.stderr;
            if stderr.is_some_and(|stderr| wanted(request, record.time, stderr)) {
                record.lines(found.whole, found.at, found.arena, &mut |line| {
                    size += line.content.len() + OVERHEAD;
                    batch.push(line);
                });
            }
            if *only_one {
                *ended = Some(LogEnd::Complete);
                return After::Stop;
            }
            if size < FULL {
                After::GoOn
            } else {
                After::Stop
            }
        })
    }

    fn miss(&mut self, cause: GapCause, bytes: u64) {
        let after = self.last_time;
        let missing = self.missing.get_or_insert(Gap {
            cause,
            after,
            bytes: 0,
        });
        missing.bytes += bytes;
    }

    /// All of a file was read.
    async fn at_end(&mut self) -> Result<(), Error> {
        let rest = self.records.rest();
        if !self.next.is_empty() {
            self.advance();
            return Ok(());
        }
        if self.follow.is_some() {
            return self.wait().await;
        }
        if rest > 0 && self.waits < WAITS {
            // The engine is writing it.
            self.waits += 1;
            self.only_one = true;
            if let Source::Plain { end, .. } = &mut self.records.source
                && end.take().is_none()
            {
                tokio::time::sleep(WAIT).await;
            }
            return Ok(());
        }
        self.drop_rest();
        self.ended = Some(LogEnd::Complete);
        Ok(())
    }

    /// The beginning of a record whose end is nowhere.
    fn drop_rest(&mut self) {
        let rest = self.records.rest();
        if rest > 0 {
            self.records.pass(rest);
            self.miss(GapCause::Damaged, rest as u64);
        }
    }

    /// Goes on with the next file.
    fn advance(&mut self) {
        self.drop_rest();
        if let Some((source, skip)) = self.next.pop_front() {
            self.skip = skip;
            self.records.change(source);
        }
        self.go_live();
    }

    /// The live file is followed beyond what it had when it was opened.
    fn go_live(&mut self) {
        if self.follow.is_some()
            && self.next.is_empty()
            && let Source::Plain { end, .. } = &mut self.records.source
        {
            *end = None;
        }
    }
}

fn unreadable(error: &io::Error) -> Error {
    Error::Failed {
        status: 0,
        message: format!("its log file could not be read: {error}"),
    }
}
