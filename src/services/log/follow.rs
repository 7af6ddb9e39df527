//! A stream of log events: lines from their origin, chosen, and put into batches with a cursor each.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::{
    budget::Budget,
    fields,
    filter::{Filter, Judge},
    origin::{Next, Origin},
};
use crate::{
    engines::docker::{Error, lines::Line, logs, merge::Step, source::SourceEnd},
    proto::{
        LogBatch, LogDrop, LogEnd, LogGap, LogLevel, LogLine, LogProgress, LogSource, LogSourceEnd,
        OutputStream, StreamLogsResponse, log_end, log_source_end::Reason,
        stream_logs_response::Event,
    },
    services::error,
};

/// A batch is sent when its lines have so many bytes; it stays below 1 MiB with the largest of lines behind.
const FULL: usize = 512 << 10;
/// What a line costs beside its content, and a field beside its name and value.
const OVERHEAD: usize = 32;
/// The time between two cursors of which nothing else is to be told.
const PROGRESS: std::time::Duration = std::time::Duration::from_secs(1);

/// What is wanted of the lines that come.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) filter: Filter,
    pub(super) with_fields: bool,
    pub(super) bytes_per_second: u64,
}

type Coming = BoxFuture<'static, (Origin, Result<Next, Error>)>;

/// Log events that come.
pub(super) struct Events {
    /// What comes next, while it is waited for.
    coming: Option<Coming>,
    origin: Option<Origin>,
    ready: VecDeque<Event>,
    batcher: Batcher,
    /// None: every line is wanted as it is.
    judge: Option<Judge>,
    budget: Option<Budget>,
}

/// Lines on their way into a batch.
struct Batcher {
    lines: Vec<LogLine>,
    sources: Vec<LogSource>,
    size: usize,
    with_fields: bool,
    /// The names of containers that the caller knows.
    told: HashMap<u32, String>,
    /// Lines were settled since the last cursor was sent.
    moved: bool,
    cursor_at: Instant,
}

impl Events {
    /// Events of these lines.
    pub(super) fn new(origin: Origin, wanted: Wanted) -> Self {
        let now = Instant::now();
        let judge = (!wanted.filter.is_open()).then(|| Judge::new(Arc::new(wanted.filter)));
        let budget =
            (wanted.bytes_per_second > 0).then(|| Budget::new(wanted.bytes_per_second, now));
        Self {
            coming: None,
            origin: Some(origin),
            ready: VecDeque::new(),
            batcher: Batcher {
                lines: Vec::new(),
                sources: Vec::new(),
                size: 0,
                with_fields: wanted.with_fields,
                told: HashMap::new(),
                moved: false,
                cursor_at: now,
            },
            judge,
            budget,
        }
    }

    /// The next event; none after the end, or after an error.
    pub(super) async fn next(&mut self) -> Option<Result<StreamLogsResponse, Status>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(StreamLogsResponse { event: Some(event) }));
            }
            let mut coming = match (self.coming.take(), self.origin.take()) {
                (Some(coming), _) => coming,
                (None, Some(mut origin)) => Box::pin(async move {
                    let next = origin.next().await;
                    (origin, next)
                }),
                (None, None) => return None,
            };
            let telling = self.budget.as_ref().and_then(Budget::tells_at);
            let tell = async {
                match telling {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let (mut origin, next) = tokio::select! {
                biased;
                () = tell => {
                    self.coming = Some(coming);
                    self.tell_drops();
                    continue;
                }
                came = &mut coming => came,
            };
            drop(coming);
            match next {
                Ok(Next::Lines(lines)) => {
                    let lines = lines.into_iter().map(|line| (0, line));
                    self.take(&mut origin, lines);
                }
                Ok(Next::Step(Step::Lines(lines))) => self.take(&mut origin, lines.into_iter()),
                Ok(Next::Step(step)) => self.tell(&mut origin, step),
                Ok(Next::End(end)) => {
                    for source in self.judge.as_ref().map(Judge::sources).unwrap_or_default() {
                        self.finish(&mut origin, source);
                    }
                    self.tell_drops();
                    let reason = match end {
                        logs::LogEnd::Complete => log_end::Reason::Complete,
                        logs::LogEnd::ContainerEnded => log_end::Reason::ContainerEnded,
                    };
                    let reason = reason.into();
                    self.ready.push_back(Event::End(LogEnd { reason }));
                    continue;
                }
                Err(failed) => return Some(Err(error::docker(failed))),
            }
            self.origin = Some(origin);
        }
    }

    fn take(&mut self, origin: &mut Origin, lines: impl Iterator<Item = (u32, Line)>) {
        let Self {
            judge,
            budget,
            batcher,
            ready,
            ..
        } = self;
        let now = Instant::now();
        if let Some(budget) = budget {
            budget.fill(now);
        }
        for (source, line) in lines {
            let mut give = |line: Line, level: LogLevel, wanted: bool| {
                origin.settled(source, &line);
                batcher.moved = true;
                if wanted && budget.as_mut().is_none_or(|budget| budget.admits(&line)) {
                    batcher.push(origin, source, line, level);
                    batcher.send(origin, ready, FULL);
                }
            };
            match judge {
                Some(judge) => judge.judge(source, line, &mut give),
                None => give(line, LogLevel::Unspecified, true),
            }
        }
        batcher.send(origin, ready, 0);
        if batcher.moved && now.saturating_duration_since(batcher.cursor_at) >= PROGRESS {
            let cursor = batcher.cursor(origin);
            ready.push_back(Event::Progress(LogProgress { cursor }));
        }
    }

    /// No more lines of a source come: what was held of a last line is settled.
    fn finish(&mut self, origin: &mut Origin, source: u32) {
        let (batcher, ready) = (&mut self.batcher, &mut self.ready);
        if let Some(judge) = &mut self.judge {
            judge.finish(source, &mut |line, level, wanted| {
                origin.settled(source, &line);
                if wanted {
                    batcher.push(origin, source, line, level);
                }
            });
            batcher.send(origin, ready, 0);
        }
    }

    fn tell(&mut self, origin: &mut Origin, step: Step) {
        match step {
            Step::Lines(_) | Step::End => {}
            Step::Gap(source, gap) => self.ready.push_back(Event::Gap(LogGap {
                source,
                after_unix_nano: gap.after,
                before_unix_nano: gap.before,
                container_id: origin.id(source),
            })),
            Step::SourceEnd(source, label, end) => {
                self.finish(origin, source);
                self.batcher.told.remove(&source);
                let reason = match &end {
                    SourceEnd::Ended => Reason::ContainerEnded,
                    SourceEnd::Removed => Reason::ContainerRemoved,
                    SourceEnd::Unreadable(_) => Reason::NotReadable,
                };
                let message = match end {
                    SourceEnd::Unreadable(message) => message,
                    SourceEnd::Ended | SourceEnd::Removed => String::new(),
                };
                self.ready.push_back(Event::SourceEnd(LogSourceEnd {
                    source,
                    container_id: label.id,
                    container_name: label.name,
                    reason: reason.into(),
                    message,
                }));
            }
        }
    }

    fn tell_drops(&mut self) {
        let dropped: Option<LogDrop> = self
            .budget
            .as_mut()
            .and_then(|budget| budget.tell(Instant::now()));
        self.ready.extend(dropped.map(Event::Drop));
    }
}

impl Batcher {
    fn push(&mut self, origin: &Origin, source: u32, line: Line, level: LogLevel) {
        if let Some(label) = origin.label(source)
            && self.told.get(&source) != Some(&label.name)
        {
            self.told.insert(source, label.name.clone());
            self.sources.push(self::source(source, label));
        }
        let mut line = self::line(source, line, level);
        if self.with_fields && !line.partial {
            line.fields = fields::of(&line.content);
        }
        let of_fields = line
            .fields
            .iter()
            .map(|field| field.name.len() + field.value.len() + OVERHEAD);
        self.size += line.content.len() + OVERHEAD + of_fields.sum::<usize>();
        self.lines.push(line);
    }

    /// Makes a batch of what has so many bytes.
    fn send(&mut self, origin: &Origin, ready: &mut VecDeque<Event>, least: usize) {
        if self.lines.is_empty() || self.size < least {
            return;
        }
        self.size = 0;
        ready.push_back(Event::Batch(LogBatch {
            lines: std::mem::take(&mut self.lines),
            sources: std::mem::take(&mut self.sources),
            cursor: self.cursor(origin),
        }));
    }

    fn cursor(&mut self, origin: &Origin) -> bytes::Bytes {
        (self.moved, self.cursor_at) = (false, Instant::now());
        origin.cursor().into()
    }
}

/// Says which container the lines with this number are of.
pub(super) fn source(index: u32, label: &crate::engines::docker::source::Label) -> LogSource {
    LogSource {
        index,
        container_id: label.id.clone(),
        container_name: label.name.clone(),
        project: label.project.clone(),
        service: label.service.clone(),
    }
}

/// A line as the contract has it.
pub(super) fn line(source: u32, line: Line, level: LogLevel) -> LogLine {
    let stream = if line.stderr {
        OutputStream::Stderr
    } else {
        OutputStream::Stdout
    };
    LogLine {
        time_unix_nano: line.time,
        stream: stream.into(),
        content: line.content,
        partial: line.partial,
        source,
        level: level.into(),
        fields: Vec::new(),
    }
}
