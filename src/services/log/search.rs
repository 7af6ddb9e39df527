//! `SearchLogs`: one log after the other, each read no further than the limit needs.
//!
//! For the newest matches a log's last lines are read first, then more of them, then all: the engine finds the last lines without
//! reading the rest. Once there are as many matches as may be sent, the other logs are read only for newer (or older) ones.

use std::{collections::VecDeque, sync::Arc};

use tonic::Status;

use super::{
    filter::Filter,
    follow,
    scan::{Found, Scanner},
};
use crate::{
    engines::docker::{
        Engine, Error,
        container::Container,
        follow::MergeRequest,
        lines::Line,
        logs::LogRequest,
        names::{ContainerRef, NameError},
        source::Label,
    },
    proto::{
        LogMatch, LogMatches, LogSource, LogSourceEnd, SearchLogsResponse, SearchSummary,
        log_source_end::Reason, search_logs_response::Event,
    },
    services::error,
};

/// So many of the last lines are read first ...
const FIRST: u32 = 4 << 10;
/// ... and then, before all are.
const SECOND: u32 = 64 << 10;
/// A message with matches is sent when it has so many bytes.
const FULL: usize = 512 << 10;

/// What is looked for.
#[derive(Debug)]
pub(super) struct Search {
    /// Where: what is stored.
    pub(super) range: MergeRequest,
    pub(super) filter: Arc<Filter>,
    pub(super) before: usize,
    pub(super) after: usize,
    pub(super) limit: usize,
    pub(super) newest: bool,
    pub(super) with_fields: bool,
}

/// A match of a source.
type Match = (i64, u32, Found);

impl Search {
    /// Searches, and returns what is to be sent.
    pub(super) async fn run(self, engine: Engine) -> Result<VecDeque<SearchLogsResponse>, Status> {
        let selected = engine.select(&self.range.selection).await;
        let selected = selected.map_err(error::docker)?;
        if let Some(missing) = selected.missing {
            let container = missing.to_string();
            return Err(error::docker(Error::ContainerNotFound { container }));
        }
        let mut summary = SearchSummary::default();
        let (mut sources, mut matches) = (Vec::new(), Vec::new());
        for (index, container) in (1..).zip(&selected.containers) {
            let bound = match self.newest {
                true => matches.first(),
                false => matches.last(),
            };
            let bound = bound.filter(|_| matches.len() >= self.limit);
            let bound = bound.map(|(time, _, _): &Match| *time);
            let label = Label::from(container);
            match self.one(&engine, container, bound, &mut summary).await {
                Ok(found) => {
                    let found = found.into_iter().map(|found| (found.time(), index, found));
                    matches.extend(found);
                    summary.containers += 1;
                    self.choose(&mut matches, &mut summary);
                }
                Err(
                    error @ (Error::Unreachable { .. }
                    | Error::NoAnswer { .. }
                    | Error::AccessDenied { .. }),
                ) => return Err(error::docker(error)),
                Err(failed) => summary.unreadable.push(LogSourceEnd {
                    source: index,
                    container_id: label.id.clone(),
                    container_name: label.name.clone(),
                    reason: match failed {
                        Error::ContainerNotFound { .. } => Reason::ContainerRemoved,
                        _ => Reason::NotReadable,
                    }
                    .into(),
                    message: failed.to_string(),
                }),
            }
            sources.push(follow::source(index, &label));
        }
        summary.matches = matches.len() as u64;
        if self.newest {
            matches.reverse();
        }
        Ok(self.responses(matches, sources, summary))
    }

    /// Keeps as many as are wanted, in the order of time.
    fn choose(&self, matches: &mut Vec<Match>, summary: &mut SearchSummary) {
        matches.sort_by_key(|(time, _, _)| *time);
        let mut room = super::scan::MOST_BYTES;
        let fits = |(_, _, found): &&Match| {
            let fits = found.size() <= room;
            room = room.saturating_sub(found.size());
            fits
        };
        let kept = match self.newest {
            true => matches
                .iter()
                .rev()
                .take(self.limit)
                .take_while(fits)
                .count(),
            false => matches.iter().take(self.limit).take_while(fits).count(),
        };
        if kept < matches.len() {
            summary.truncated = true;
            match self.newest {
                true => drop(matches.drain(..matches.len() - kept)),
                false => matches.truncate(kept),
            }
        }
    }

    /// Searches one log, beyond the bound not at all.
    async fn one(
        &self,
        engine: &Engine,
        container: &Container,
        bound: Option<i64>,
        summary: &mut SearchSummary,
    ) -> Result<VecDeque<Found>, Error> {
        let id = container.id.parse();
        let id: ContainerRef = id.map_err(|error: NameError| Error::Protocol(error.to_string()))?;
        let mut range = self.range.of(id, false);
        match bound {
            Some(bound) if self.newest => {
                range.since = Some(range.since.map_or(bound, |since| since.max(bound)));
            }
            Some(bound) => {
                let bound = bound.saturating_add(1);
                range.until = Some(range.until.map_or(bound, |until| until.min(bound)));
            }
            None => {}
        }
        let tails: &[Option<u32>] = match self.newest {
            true => &[Some(FIRST), Some(SECOND), None],
            false => &[None],
        };
        let mut found = VecDeque::new();
        for tail in tails {
            let mut scanner = Scanner::new(self);
            let whole = read(engine, &range, *tail, &mut scanner).await?;
            let stopped = scanner.finish();
            summary.lines_scanned += scanner.lines;
            summary.bytes_scanned += scanner.bytes;
            let enough = scanner.enough();
            found = scanner.found;
            if whole || enough {
                summary.truncated |= stopped || !whole;
                break;
            }
        }
        Ok(found)
    }

    fn responses(
        &self,
        matches: Vec<Match>,
        sources: Vec<LogSource>,
        summary: SearchSummary,
    ) -> VecDeque<SearchLogsResponse> {
        let mut sources: Vec<Option<LogSource>> = sources.into_iter().map(Some).collect();
        let mut responses = VecDeque::new();
        let mut batch = LogMatches::default();
        let mut size = 0;
        for (_, index, found) in matches {
            let place = (index as usize).checked_sub(1);
            let source = place.and_then(|place| sources.get_mut(place)?.take());
            batch.sources.extend(source);
            size += found.size();
            batch.matches.push(self.converted(index, found));
            if size >= FULL {
                size = 0;
                let event = Some(Event::Matches(std::mem::take(&mut batch)));
                responses.push_back(SearchLogsResponse { event });
            }
        }
        if !batch.matches.is_empty() {
            let event = Some(Event::Matches(batch));
            responses.push_back(SearchLogsResponse { event });
        }
        let event = Some(Event::Summary(summary));
        responses.push_back(SearchLogsResponse { event });
        responses
    }

    fn converted(&self, index: u32, found: Found) -> LogMatch {
        let convert = |lines: Vec<_>| {
            let lines = lines.into_iter().map(|(line, level): (Line, _)| {
                let mut line = follow::line(index, line, level);
                if self.with_fields && !line.partial {
                    line.fields = super::fields::of(&line.content);
                }
                line
            });
            lines.collect()
        };
        LogMatch {
            before: convert(found.before),
            lines: convert(found.lines),
            after: convert(found.after),
        }
    }
}

/// Reads a log, or its last lines; whether there is nothing wanted before them.
async fn read(
    engine: &Engine,
    range: &LogRequest,
    tail: Option<u32>,
    scanner: &mut Scanner,
) -> Result<bool, Error> {
    let request = match tail {
        None => range.clone(),
        // Counted by all lines: which of them are wanted is seen here.
        Some(_) => LogRequest {
            tail,
            since: None,
            until: None,
            stdout: true,
            stderr: true,
            ..range.clone()
        },
    };
    let mut logs = engine.logs(request).await?;
    let mut lines = Vec::new();
    let (mut count, mut whole) = (0_u64, tail.is_none());
    loop {
        let end = logs.next(&mut lines).await?;
        for line in lines.drain(..) {
            count += 1;
            if tail.is_some() {
                whole |= range.since.is_some_and(|since| line.time < since);
                let wanted = range.since.is_none_or(|since| line.time >= since)
                    && range.until.is_none_or(|until| line.time < until)
                    && if line.stderr {
                        range.stderr
                    } else {
                        range.stdout
                    };
                if !wanted {
                    continue;
                }
            }
            scanner.push(line);
            if scanner.is_over() {
                return Ok(whole);
            }
        }
        if end.is_some() {
            return Ok(whole || tail.is_some_and(|tail| count < u64::from(tail)));
        }
        // Others get their turn between two batches.
        tokio::task::consume_budget().await;
    }
}
