//! What the engine says while it pulls, pushes, builds or loads: a JSON value on each line.
//!
//! Lines are put together within bounds. A line that is too long ends the work: it may be the one that says
//! what went wrong.

use std::{pin::pin, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::{
    engine::Engine,
    error::{Error, Subject},
    image_error::ImageError,
    stream::Stream,
    upload::Upload,
};

/// The longest line.
const MOST: usize = 1 << 20;
/// So much of a longer one is looked at.
const BEGINNING: usize = 16 << 10;
/// An engine that is busy may leave so many probes unanswered while the connection stands.
const PROBES: u32 = 6;

/// How work gets on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An item did.
    Progress {
        /// A layer, or empty for the work as a whole.
        item: String,
        /// What is done with it.
        status: String,
        /// So much is done.
        current: u64,
        /// Of so much; 0 when nobody knows.
        total: u64,
    },
    /// Something was printed.
    Output(Bytes),
}

impl Step {
    /// Something about the work as a whole.
    pub(super) fn said(status: &str) -> Self {
        Self::Progress {
            item: String::new(),
            status: status.to_owned(),
            current: 0,
            total: 0,
        }
    }
}

/// Where steps are told.
pub type Tell<'a> = &'a (dyn Fn(Step) + Send + Sync);

/// One line of the engine's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    pub(super) stream: Option<String>,
    pub(super) status: Option<String>,
    pub(super) id: Option<String>,
    #[serde(rename = "progressDetail")]
    progress: Option<Amount>,
    error: Option<String>,
    #[serde(rename = "errorDetail")]
    detail: Option<Detail>,
    pub(super) aux: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Amount {
    current: i64,
    total: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    code: Option<i64>,
    message: Option<String>,
}

/// What the engine says went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) code: Option<i64>,
    pub(super) message: String,
}

impl Message {
    /// What went wrong.
    pub(super) fn wrong(&mut self) -> Option<Wrong> {
        let (error, detail) = (self.error.take(), self.detail.take());
        if error.is_none() && detail.is_none() {
            return None;
        }
        let detail = detail.unwrap_or_default();
        Some(Wrong {
            code: detail.code,
            message: detail.message.or(error).unwrap_or_default(),
        })
    }

    /// The progress that it is, if it is.
    pub(super) fn step(self) -> Option<Step> {
        let amount = self.progress.unwrap_or_default();
        let positive = |number| u64::try_from(number).unwrap_or_default();
        Some(Step::Progress {
            status: self.status?,
            item: self.id.unwrap_or_default(),
            current: positive(amount.current),
            total: positive(amount.total),
        })
    }
}

/// Puts lines together.
#[derive(Debug, Default)]
pub(super) struct Lines(BytesMut);

impl Lines {
    /// Takes what was read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next message; none when more must be read, or at the end.
    pub(super) fn next(&mut self, ended: bool) -> Result<Option<Message>, Wrong> {
        loop {
            let end = memchr::memchr(b'\n', &self.0);
            let line = match end {
                Some(end) if end <= MOST => self.0.split_to(end + 1),
                None if self.0.len() <= MOST && !ended => return Ok(None),
                None if self.0.is_empty() => return Ok(None),
                None if self.0.len() <= MOST => self.0.split(),
                Some(_) | None => return Err(too_long(&self.0)),
            };
            if self.0.is_empty() {
                // What a long line took is given back.
                self.0 = BytesMut::new();
            }
            let line = line.trim_ascii();
            if !line.is_empty() {
                let parsed = serde_json::from_slice(line);
                return parsed.map(Some).map_err(|_| Wrong {
                    code: None,
                    message: format!("not JSON: {}", String::from_utf8_lossy(beginning(line))),
                });
            }
        }
    }
}

fn beginning(line: &[u8]) -> &[u8] {
    line.get(..BEGINNING).unwrap_or(line)
}

fn too_long(line: &[u8]) -> Wrong {
    let mut text = beginning(line);
    for start in [&br#"{"errorDetail":{"message":""#[..], br#"{"error":""#] {
        if text.starts_with(start) {
            text.advance(start.len());
        }
    }
    Wrong {
        code: None,
        message: String::from_utf8_lossy(text).into_owned(),
    }
}

/// Where the messages come from.
enum Source {
    Stream(Stream),
    Upload(Upload),
}

/// Work of the engine that is followed to its end. Dropping it closes the connection, which ends the work.
pub(super) struct Followed<'a> {
    engine: &'a Engine,
    stream: Source,
    lines: Lines,
    subject: Subject<'a>,
    limit: Duration,
    ended: bool,
}

impl<'a> Followed<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        stream: Stream,
        subject: Subject<'a>,
        limit: Duration,
    ) -> Self {
        Self::from(engine, Source::Stream(stream), subject, limit)
    }

    /// The same for what an archive was sent for.
    pub(super) fn of_upload(
        engine: &'a Engine,
        upload: Upload,
        subject: Subject<'a>,
        limit: Duration,
    ) -> Self {
        Self::from(engine, Source::Upload(upload), subject, limit)
    }

    fn from(engine: &'a Engine, stream: Source, subject: Subject<'a>, limit: Duration) -> Self {
        Self {
            engine,
            stream,
            lines: Lines::default(),
            subject,
            limit,
            ended: false,
        }
    }

    /// The next message, none at the end. What the engine says went wrong is the error; one that it said with a code is
    /// left to the caller.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            match self.lines.next(self.ended) {
                Ok(Some(mut message)) => {
                    return match message.wrong() {
                        Some(wrong) => Err(self.failed(wrong)),
                        None => Ok(Some(message)),
                    };
                }
                Ok(None) if self.ended => return Ok(None),
                Ok(None) => {}
                Err(wrong) => return Err(self.failed(wrong)),
            }
            let stream = match &mut self.stream {
                Source::Stream(stream) => stream,
                Source::Upload(upload) => &mut upload.stream,
            };
            let read = self.engine.patiently(self.limit, stream.next());
            match read.await? {
                Some(bytes) => self.lines.push(&bytes),
                None => self.ended = true,
            }
        }
    }

    fn failed(&self, wrong: Wrong) -> Error {
        if let (Subject::Build(call), true) = (self.subject, wrong.code.is_some()) {
            return call.step_failed(wrong);
        }
        Error::from_status(0, &wrong.message, self.subject)
    }
}

impl Engine {
    /// Waits as long as the engine is there, and says something of this within the limit.
    pub(super) async fn patiently<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut status = self.watch();
        let mut work = pin!(timeout(limit, work));
        let mut unanswered = 0;
        loop {
            let probed = async {
                if unanswered == 0 {
                    status.away().await;
                } else {
                    sleep(Duration::from_secs(1)).await;
                }
                self.transport().probe().await
            };
            tokio::select! {
                biased;
                done = &mut work => {
                    return done.unwrap_or(Err(ImageError::Quiet { limit }.into()));
                }
                probed = probed => match probed {
                    Ok(_) => unanswered = 0,
                    Err(_) if unanswered < PROBES => unanswered += 1,
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_however_they_were_cut() {
        let text = b"{\"status\":\"Pulling\",\"id\":\"a\",\"progressDetail\":{\"current\":5,\"total\":-1}}\r\n\r\n{\"stream\":\"x\\n\"}\n{\"errorDetail\":{\"code\":3,\"message\":\"no\"},\"error\":\"no\"}";
        for piece in 1..text.len() {
            let mut lines = Lines::default();
            let mut seen = Vec::new();
            for bytes in text.chunks(piece) {
                lines.push(bytes);
                while let Some(message) = lines.next(false).unwrap() {
                    seen.push(message);
                }
            }
            while let Some(message) = lines.next(true).unwrap() {
                seen.push(message);
            }
            let [first, second, third] = seen.try_into().unwrap();
            let step = Step::Progress {
                item: "a".into(),
                status: "Pulling".into(),
                current: 5,
                total: 0,
            };
            assert_eq!(first.step(), Some(step));
            assert_eq!(second.stream.as_deref(), Some("x\n"));
            let wrong = Wrong {
                code: Some(3),
                message: "no".into(),
            };
            assert_eq!({ third }.wrong(), Some(wrong));
        }
    }

    #[test]
    fn a_line_of_10_mb_is_never_held_and_never_a_success() {
        let mut lines = Lines::default();
        lines.push(br#"{"errorDetail":{"message":"unknown blob "#);
        let mut pieces = 0;
        let wrong = loop {
            lines.push(&[b'x'; 64 << 10]);
            pieces += 1;
            match lines.next(false) {
                Ok(None) => assert!(pieces < 160),
                Ok(Some(_)) => unreachable!(),
                Err(wrong) => break wrong,
            }
        };
        assert!(pieces <= 17, "{pieces}");
        assert!(wrong.message.starts_with("unknown blob xxx"));
        assert!(wrong.message.len() <= BEGINNING);
        let mut lines = Lines::default();
        lines.push(b"<html>\n");
        assert!(lines.next(false).is_err());
    }
}
