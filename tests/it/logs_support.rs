//! Streams of many logs, and what they bring, for tests.

use std::{collections::HashMap, time::Duration};

use futures_util::StreamExt;
use tonic::Status;
use turbopanel_agent::{
    engines::docker::Engine,
    proto::{
        LogGap, LogLine, LogSelection, LogSource, StreamLogsRequest, log_end,
        log_service_server::LogService, log_source_end, stream_logs_response::Event,
    },
    services::log::LogApi,
};

use crate::{
    docker_logs,
    docker_support::{TestContainer, unique},
};

/// A test waits so long for what a busy machine does in a moment.
pub const SOON: Duration = Duration::from_secs(30);

/// A label of one test's own.
pub struct Marked {
    label: String,
}

impl Marked {
    pub fn new() -> Self {
        Self {
            label: unique("label"),
        }
    }

    pub fn run(&self, options: &[&str], script: &str) -> TestContainer {
        let label = format!("tp-test={}", self.label);
        let options = [&["--label", &label], options].concat();
        TestContainer::run(&options, &["sh", "-c", script])
    }

    pub fn name(&self) -> &str {
        &self.label
    }

    pub fn selection(&self) -> LogSelection {
        LogSelection {
            labels: HashMap::from([("tp-test".to_owned(), self.label.clone())]),
            ..LogSelection::default()
        }
    }

    pub fn request(&self, follow: bool) -> StreamLogsRequest {
        StreamLogsRequest {
            selection: Some(self.selection()),
            follow,
            ..StreamLogsRequest::default()
        }
    }
}

/// A stream, and everything that it has brought.
pub struct Got {
    events: <LogApi as LogService>::StreamLogsStream,
    pub lines: Vec<LogLine>,
    pub sources: HashMap<u32, LogSource>,
    pub ends: Vec<(String, log_source_end::Reason)>,
    pub gaps: Vec<LogGap>,
    /// How many lines came before each.
    pub gaps_before: Vec<usize>,
    pub dropped: u64,
    pub cursor: bytes::Bytes,
    pub end: Option<log_end::Reason>,
}

impl Got {
    pub async fn open(engine: Engine, request: StreamLogsRequest) -> Result<Self, Status> {
        Ok(Self {
            events: docker_logs::open(&LogApi::new(engine), request).await?,
            lines: Vec::new(),
            sources: HashMap::new(),
            ends: Vec::new(),
            gaps: Vec::new(),
            gaps_before: Vec::new(),
            dropped: 0,
            cursor: bytes::Bytes::new(),
            end: None,
        })
    }

    /// Takes the next event; false at the end.
    pub async fn next(&mut self) -> Result<bool, Status> {
        let next = tokio::time::timeout(SOON, self.events.next()).await;
        let Some(event) =
            next.unwrap_or_else(|_| panic!("nothing within {SOON:?}: {:?}", self.texts()))
        else {
            assert!(self.end.is_some(), "no end");
            return Ok(false);
        };
        assert_eq!(self.end, None, "something after the end");
        let event = event?;
        assert!(prost::Message::encoded_len(&event) < 1 << 20);
        match event.event.unwrap() {
            Event::Batch(batch) => {
                assert!(!batch.lines.is_empty() && !batch.cursor.is_empty());
                for source in batch.sources {
                    self.sources.insert(source.index, source);
                }
                let known =
                    |line: &LogLine| line.source == 0 || self.sources.contains_key(&line.source);
                assert!(batch.lines.iter().all(known));
                self.lines.extend(batch.lines);
                self.cursor = batch.cursor;
            }
            Event::End(end) => self.end = Some(end.reason()),
            Event::Gap(gap) => {
                self.gaps.push(gap);
                self.gaps_before.push(self.lines.len());
            }
            Event::Drop(drop) => self.dropped += drop.lines,
            Event::SourceEnd(end) => self.ends.push((end.container_name.clone(), end.reason())),
            Event::Progress(progress) => self.cursor = progress.cursor,
        }
        Ok(true)
    }

    /// Reads to the end.
    pub async fn all(engine: Engine, request: StreamLogsRequest) -> Self {
        let mut got = Self::open(engine, request).await.unwrap();
        while got.next().await.unwrap() {}
        got
    }

    /// Reads until it is so.
    pub async fn until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + SOON;
        while !condition(self) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "never: {what}; {:?}",
                self.texts()
            );
            assert!(
                self.next().await.unwrap(),
                "ended before: {what}; {:?}",
                self.texts()
            );
        }
    }

    pub fn texts(&self) -> Vec<String> {
        texts(&self.lines)
    }

    /// Of the container with this name.
    pub fn of(&self, name: &str) -> Vec<String> {
        let of = |line: &&LogLine| self.sources[&line.source].container_name == name;
        let lines: Vec<LogLine> = self.lines.iter().filter(of).cloned().collect();
        texts(&lines)
    }

    pub fn has(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.content == text)
    }
}

pub fn texts(lines: &[LogLine]) -> Vec<String> {
    let text = |line: &LogLine| String::from_utf8_lossy(&line.content).into_owned();
    lines.iter().map(text).collect()
}
