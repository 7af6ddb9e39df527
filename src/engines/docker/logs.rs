//! Logs of containers, read as fast as the engine gives them.
//!
//! The engine's `since` and `until` are inclusive, and what it does with parts of a second has
//! changed; they are sent to spare work, and every line is looked at again here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    container::{Detail, State},
    engine::Engine,
    error::{Error, Subject, clean},
    framing::{Decoder, FramingError, Source},
    http1::Content,
    lines::{Assembler, Line, Runs},
    names::{ContainerRef, NameError},
    status::Watch,
    stream::{Stream, StreamRequest},
};

/// A batch is given when it has so many bytes, its lines' overhead included.
const FULL: usize = 512 << 10;
/// What a line costs beside its content.
const OVERHEAD: usize = 32;
/// A line can arrive so long after its time.
const LATE: Duration = Duration::from_millis(500);

/// Which part of a log.
#[derive(Debug, Clone)]
pub struct LogRequest {
    /// Whose.
    pub container: ContainerRef,
    /// Goes on with what comes.
    pub follow: bool,
    /// Only so many of the last stored lines.
    pub tail: Option<u32>,
    /// From this time on, in nanoseconds since the Unix epoch.
    pub since: Option<i64>,
    /// Before this time.
    pub until: Option<i64>,
    /// With standard output.
    pub stdout: bool,
    /// With standard error.
    pub stderr: bool,
}

/// Why a log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEnd {
    /// All that was asked for was given.
    Complete,
    /// The container ended while it was followed.
    ContainerEnded,
}

/// A log that is being read. Dropping it ends the engine's work for it.
#[derive(Debug)]
pub struct Logs {
    engine: Engine,
    request: LogRequest,
    /// The container itself: another one may get its name.
    id: ContainerRef,
    stream: Stream,
    decoder: Decoder,
    assembler: Assembler,
    content: Bytes,
    /// When the container that is followed was started. None when it is not followed.
    followed: Option<Option<i64>>,
    ends_at: Option<Instant>,
    status: Option<Watch>,
    ended: Option<LogEnd>,
}

impl Engine {
    /// Reads the log of a container.
    pub async fn logs(&self, request: LogRequest) -> Result<Logs, Error> {
        let detail = self.container(&request.container).await?;
        let id = detail.container.id.parse();
        let id: ContainerRef = id.map_err(|error: NameError| Error::Protocol(error.to_string()))?;
        if detail.log_driver == "none" {
            return Err(not_readable(&request.container, &detail));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
        let left = request.until.map(|until| until.saturating_sub(now));
        let runs = matches!(
            detail.container.state,
            State::Running | State::Paused | State::Restarting
        );
        let follow = request.follow && runs && left.is_none_or(|left| left > 0);
        let path = path(&id, &request, follow);
        let opened = Stream::open(
            self.transport(),
            StreamRequest {
                method: "GET",
                path: &path,
                body: "",
                upgrade: false,
                subject: Subject::Container(request.container.as_str()),
                deadline: self.deadlines().call,
            },
        )
        .await;
        let stream = opened.map_err(|error| match error {
            Error::Failed { message, .. } if message.contains("does not support reading") => {
                not_readable(&request.container, &detail)
            }
            error => error,
        })?;
        let runs = Runs {
            last_start: detail.started.unwrap_or(i64::MIN),
            now,
        };
        Ok(Logs {
            engine: self.clone(),
            id,
            stream,
            decoder: Decoder::new(detail.tty),
            assembler: Assembler::new(detail.tty, runs),
            content: Bytes::new(),
            followed: follow.then_some(detail.started),
            ends_at: left
                .filter(|_| follow)
                .and_then(|left| u64::try_from(left).ok())
                .and_then(|left| {
                    Instant::now().checked_add(Duration::from_nanos(left).saturating_add(LATE))
                }),
            status: follow.then(|| self.watch()),
            ended: None,
            request,
        })
    }
}

/// A container's log driver keeps nothing.
fn not_readable(container: &ContainerRef, detail: &Detail) -> Error {
    Error::LogsNotReadable {
        container: container.to_string(),
        driver: detail.log_driver.clone(),
    }
}

fn path(id: &ContainerRef, request: &LogRequest, follow: bool) -> String {
    let mut path = format!(
        "/containers/{id}/logs?timestamps=true&follow={follow}&stdout={}&stderr={}",
        request.stdout, request.stderr
    );
    let mut time = |name: &str, nanos: Option<i64>| {
        if let Some(nanos) = nanos.filter(|nanos| *nanos > 0) {
            let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
            path.push_str(&format!("&{name}={seconds}.{nanos:09}"));
        }
    };
    time("since", request.since);
    time("until", request.until);
    if let Some(tail) = request.tail {
        path.push_str(&format!("&tail={tail}"));
    }
    path
}

impl Logs {
    /// The container's full id.
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Adds the lines that are there to the batch, at least one; or says how the log ended. After
    /// an end there is nothing more. Not to be called again after an error.
    pub async fn next(&mut self, batch: &mut Vec<Line>) -> Result<Option<LogEnd>, Error> {
        loop {
            let whole = self.take(batch)?;
            if !batch.is_empty() {
                return Ok(None);
            }
            if let Some(end) = self.ended {
                return Ok(Some(end));
            }
            if whole || !self.more().await? {
                self.decoder.finish().map_err(framing)?;
                let (request, assembler) = (&self.request, &mut self.assembler);
                assembler.finish(&mut |line| {
                    if wanted(request, &line) {
                        batch.push(line);
                    }
                });
                self.ended = Some(self.end().await?);
            }
        }
    }

    /// Takes what was read, until a batch is full. Whether the engine said that this was all.
    fn take(&mut self, batch: &mut Vec<Line>) -> Result<bool, Error> {
        let mut size = 0;
        let request = &self.request;
        let mut give = |line: Line| {
            if wanted(request, &line) {
                size += line.content.len() + OVERHEAD;
                batch.push(line);
            }
            size
        };
        let mut full = 0;
        while full < FULL {
            match self.decoder.next(&mut self.content).map_err(framing)? {
                Some(piece) if piece.source == Source::Engine => {
                    return Err(Error::Failed {
                        status: 0,
                        message: clean(&String::from_utf8_lossy(&piece.bytes)),
                    });
                }
                Some(piece) => self.assembler.push(piece, &mut |line| full = give(line)),
                None => match self.stream.take()? {
                    Content::Bytes(bytes) => self.content = bytes,
                    Content::More => return Ok(false),
                    Content::End => return Ok(true),
                },
            }
        }
        Ok(false)
    }

    /// Reads more; false when nothing more will come.
    async fn more(&mut self) -> Result<bool, Error> {
        loop {
            let Some(status) = &mut self.status else {
                return self.stream.more().await;
            };
            let over = async {
                match self.ends_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                more = self.stream.more() => return more,
                () = over => return Ok(false),
                () = status.away() => {
                    // One call in trouble is no proof; a silent log of a hung engine is found out here.
                    self.engine.transport().probe().await?;
                }
            }
        }
    }

    /// Why nothing more comes.
    async fn end(&mut self) -> Result<LogEnd, Error> {
        let Some(started) = self.followed else {
            return Ok(LogEnd::Complete);
        };
        // The engine ends a log by itself when a line after that time comes.
        if self.ends_at.is_some_and(|at| Instant::now() + LATE >= at) {
            return Ok(LogEnd::Complete);
        }
        // The engine closes the log just before it writes down that the container has ended.
        for _ in 0..20 {
            let detail = match self.engine.container(&self.id).await {
                Ok(detail) => detail,
                Err(Error::ContainerNotFound { .. }) => return Ok(LogEnd::ContainerEnded),
                Err(error) => return Err(error),
            };
            if detail.container.state != State::Running || detail.started != started {
                return Ok(LogEnd::ContainerEnded);
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err(Error::no_answer(
            &self.engine.address().to_string(),
            "it ended the log of a container that runs",
        ))
    }
}

fn wanted(request: &LogRequest, line: &Line) -> bool {
    request.since.is_none_or(|since| line.time >= since)
        && request.until.is_none_or(|until| line.time < until)
        && if line.stderr {
            request.stderr
        } else {
            request.stdout
        }
}

fn framing(error: FramingError) -> Error {
    Error::Protocol(error.to_string())
}
