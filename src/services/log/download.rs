//! `DownloadLogs`: a range of logs as the bytes of a file.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use tonic::Status;

use super::filter::{Filter, Judge};
use crate::{
    engines::docker::{
        lines::Line,
        merge::{Merge, Step},
        source::SourceEnd,
    },
    proto::{
        DownloadEnd, DownloadLogsResponse, LogSourceEnd, download_logs_response::Event,
        log_source_end::Reason,
    },
    services::error,
};

/// A piece is sent when it has so many bytes.
const FULL: usize = 256 << 10;

/// How lines are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) json: bool,
    pub(super) times: bool,
    pub(super) names: bool,
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Download {
    /// None when all was read.
    merge: Option<Merge>,
    judge: Judge,
    form: Form,
    bytes: Vec<u8>,
    /// The line that goes on: its source, and whether it is of standard error.
    open: Option<(u32, bool)>,
    end: DownloadEnd,
    ended: bool,
}

impl Download {
    /// Nothing is written yet.
    pub(super) fn new(merge: Merge, filter: Filter, form: Form) -> Self {
        Self {
            merge: Some(merge),
            judge: Judge::new(filter.into()),
            form,
            bytes: Vec::new(),
            open: None,
            end: DownloadEnd::default(),
            ended: false,
        }
    }

    /// The next piece; none after the end.
    pub(super) async fn next(&mut self) -> Option<Result<DownloadLogsResponse, Status>> {
        while self.bytes.len() < FULL
            && let Some(mut merge) = self.merge.take()
        {
            let step = match merge.next().await {
                Ok(step) => step,
                Err(failed) => return Some(Err(error::docker(failed))),
            };
            match step {
                Step::Lines(lines) => {
                    for (source, line) in lines {
                        self.take(&merge, source, Some(line));
                    }
                }
                Step::Gap(..) => {}
                Step::SourceEnd(source, label, end) => {
                    self.take(&merge, source, None);
                    let (reason, message) = match end {
                        SourceEnd::Ended => (Reason::ContainerEnded, String::new()),
                        SourceEnd::Removed => (Reason::ContainerRemoved, String::new()),
                        SourceEnd::Unreadable(message) => (Reason::NotReadable, message),
                    };
                    self.end.unreadable.push(LogSourceEnd {
                        source,
                        container_id: label.id,
                        container_name: label.name,
                        reason: reason.into(),
                        message,
                    });
                }
                Step::End => {
                    for source in self.judge.sources() {
                        self.take(&merge, source, None);
                    }
                    break;
                }
            }
            self.merge = Some(merge);
        }
        let event = if self.bytes.is_empty() {
            if std::mem::replace(&mut self.ended, true) {
                return None;
            }
            Event::End(std::mem::take(&mut self.end))
        } else {
            let rest = self.bytes.split_off(FULL.min(self.bytes.len()));
            Event::Data(std::mem::replace(&mut self.bytes, rest).into())
        };
        Some(Ok(DownloadLogsResponse { event: Some(event) }))
    }

    /// Writes a line of a source, or what was held of its last one.
    fn take(&mut self, merge: &Merge, source: u32, line: Option<Line>) {
        let name = merge.label(source).map_or("", |label| label.name.as_str());
        let (form, bytes, open, count) = (
            self.form,
            &mut self.bytes,
            &mut self.open,
            &mut self.end.lines,
        );
        let mut write = |line: Line, _, wanted: bool| {
            if wanted {
                *count += 1;
                match form.json {
                    true => append_json(bytes, name, &line),
                    false => append_text(bytes, open, form, source, name, &line),
                }
            }
        };
        match line {
            Some(line) => self.judge.judge(source, line, &mut write),
            None => self.judge.finish(source, &mut write),
        }
    }
}

fn append_text(
    bytes: &mut Vec<u8>,
    open: &mut Option<(u32, bool)>,
    form: Form,
    source: u32,
    name: &str,
    line: &Line,
) {
    let this = (source, line.stderr);
    if *open != Some(this) {
        if open.is_some() {
            bytes.push(b'\n');
        }
        if form.times {
            bytes.extend_from_slice(time(line).as_bytes());
            bytes.push(b' ');
        }
        if form.names {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b" | ");
        }
    }
    bytes.extend_from_slice(&line.content);
    if !line.partial {
        bytes.push(b'\n');
    }
    *open = line.partial.then_some(this);
}

fn append_json(bytes: &mut Vec<u8>, name: &str, line: &Line) {
    let mut object = json!({
        "time": time(line),
        "container": name,
        "stream": if line.stderr { "stderr" } else { "stdout" },
    });
    if let Some(object) = object.as_object_mut() {
        match std::str::from_utf8(&line.content) {
            Ok(text) => object.insert("text".to_owned(), text.into()),
            Err(_) => object.insert("base64".to_owned(), STANDARD.encode(&line.content).into()),
        };
        if line.partial {
            object.insert("partial".to_owned(), true.into());
        }
    }
    bytes.extend_from_slice(object.to_string().as_bytes());
    bytes.push(b'\n');
}

fn time(line: &Line) -> String {
    let time = prost_types::Timestamp {
        seconds: line.time.div_euclid(1_000_000_000),
        nanos: i32::try_from(line.time.rem_euclid(1_000_000_000)).unwrap_or_default(),
    };
    time.to_string()
}
