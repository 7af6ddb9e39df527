//! What compose says while it works: lines of JSON about containers, images and builds, and anything else.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;

/// A line that is longer is no message.
const LONGEST: usize = 256 * 1024;

/// Something that compose said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// An item got on.
    Progress {
        /// "Container app-web-1", "web 4f4fb700ef54", …
        item: String,
        /// Its own word.
        status: String,
        /// So much is done.
        current: u64,
        /// Of so much; 0 when nobody knows.
        total: u64,
    },
    /// It warned.
    Warning(String),
    /// It ended with this error.
    Error(String),
    /// Anything else, with its line end.
    Printed(Bytes),
}

/// One of its messages. Which fields are there says what it is.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Message {
    id: String,
    parent_id: String,
    text: String,
    status: String,
    current: i64,
    total: i64,
    error: bool,
    message: String,
    level: String,
    msg: String,
    vertexes: Vec<Vertex>,
    logs: Vec<Log>,
}

/// A step of a build.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Vertex {
    name: String,
    started: Option<String>,
    completed: Option<String>,
    cached: bool,
    error: String,
}

/// What a step of a build printed.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Log {
    data: String,
}

/// Cuts one output into what it says.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: BytesMut,
}

impl Lines {
    /// Takes bytes as they come.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end + 1);
            self.begun.extend_from_slice(line);
            said.extend(read(self.begun.split().freeze()));
            rest = after;
        }
        self.begun.extend_from_slice(rest);
        if self.begun.len() > LONGEST {
            said.push(Said::Printed(self.begun.split().freeze()));
        }
        said
    }

    /// What is left at the end.
    pub(super) fn end(&mut self) -> Vec<Said> {
        let last = self.begun.split().freeze();
        if last.is_empty() {
            Vec::new()
        } else {
            read(last)
        }
    }
}

fn read(line: Bytes) -> Vec<Said> {
    if !line.starts_with(b"{") {
        return vec![Said::Printed(line)];
    }
    let Ok(message) = serde_json::from_slice::<Message>(&line) else {
        return vec![Said::Printed(line)];
    };
    if message.error {
        return vec![Said::Error(message.message)];
    }
    if !message.msg.is_empty() {
        return match message.level.as_str() {
            "warning" => vec![Said::Warning(message.msg)],
            "error" | "fatal" | "panic" => vec![Said::Error(message.msg)],
            _ => Vec::new(),
        };
    }
    if !message.id.is_empty() {
        return vec![message.progress()];
    }
    let mut said: Vec<Said> = message
        .vertexes
        .into_iter()
        .filter_map(Vertex::progress)
        .collect();
    for log in message.logs {
        if let Ok(printed) = STANDARD.decode(log.data) {
            said.push(Said::Printed(printed.into()));
        }
    }
    if said.is_empty() && !message.text.is_empty() {
        said.push(Said::Printed(format!("{}\n", message.text).into()));
    }
    said
}

impl Message {
    fn progress(self) -> Said {
        let item = match self.parent_id.as_str() {
            "" => self.id,
            parent => format!("{parent} {}", self.id),
        };
        let status = match (self.text.as_str(), self.status.as_str()) {
            ("", status) => status.to_owned(),
            // A layer's bar is drawn in its status.
            (text, status) if status.is_empty() || self.total > 0 => text.to_owned(),
            (text, status) => format!("{text}: {status}"),
        };
        Said::Progress {
            item,
            status,
            current: self.current.try_into().unwrap_or_default(),
            total: self.total.try_into().unwrap_or_default(),
        }
    }
}

impl Vertex {
    fn progress(self) -> Option<Said> {
        let status = match (self.started, self.completed) {
            _ if !self.error.is_empty() => self.error,
            (_, Some(_)) if self.cached => "Cached".to_owned(),
            (_, Some(_)) => "Done".to_owned(),
            (Some(_), None) => "Running".to_owned(),
            (None, None) => return None,
        };
        Some(Said::Progress {
            item: self.name,
            status,
            current: 0,
            total: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(item: &str, status: &str, current: u64, total: u64) -> Said {
        let (item, status) = (item.to_owned(), status.to_owned());
        Said::Progress {
            item,
            status,
            current,
            total,
        }
    }

    fn printed(text: &str) -> Said {
        Said::Printed(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn lines_are_read_whatever_pieces_they_come_in() {
        let text = concat!(
            "{\"id\":\"Container a-web-1\",\"status\":\"Creating\"}\n",
            "{\"id\":\"4f4f\",\"parent_id\":\"web\",\"text\":\"Downloading\",\"status\":\"[=> ] 1kB/2kB\",\"current\":1,\"total\":2,\"percent\":50}\n",
            "{\"id\":\"web\",\"text\":\"Error\",\"status\":\"no such host\"}\n",
            "{\"level\":\"warning\",\"msg\":\"A is not set\",\"time\":\"x\"}\n",
            "plain\n",
            "{\"odd\":1}\n",
            "{broken\n",
            "{\"vertexes\":[{\"name\":\"[web 1/2] RUN x\"},{\"name\":\"[web 1/2] RUN x\",\"started\":\"x\",\"completed\":\"y\",\"cached\":true}]}\n",
            "{\"logs\":[{\"data\":\"aGVsbG8K\"},{\"data\":\"!\"}]}\n",
            "{\"error\":true,\"message\":\"no\"}\n",
            "{\"id\":7}\n",
            "the end",
        );
        let expected = [
            progress("Container a-web-1", "Creating", 0, 0),
            progress("web 4f4f", "Downloading", 1, 2),
            progress("web", "Error: no such host", 0, 0),
            Said::Warning("A is not set".to_owned()),
            printed("plain\n"),
            printed("{broken\n"),
            progress("[web 1/2] RUN x", "Cached", 0, 0),
            printed("hello\n"),
            Said::Error("no".to_owned()),
            printed("{\"id\":7}\n"),
            printed("the end"),
        ];
        for size in [1, 7, 4096] {
            let mut lines = Lines::default();
            let mut said: Vec<Said> = text
                .as_bytes()
                .chunks(size)
                .flat_map(|piece| lines.take(piece))
                .collect();
            said.extend(lines.end());
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let mut lines = Lines::default();
        let mut printed = 0;
        for _ in 0..100 {
            for said in lines.take(&[b'{'; 10_000]) {
                assert!(matches!(said, Said::Printed(_)));
                printed += 1;
            }
            assert!(lines.begun.len() <= LONGEST);
        }
        assert_eq!(printed, 3);
    }
}
