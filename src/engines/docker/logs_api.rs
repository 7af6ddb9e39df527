//! Logs through the engine's API, read as fast as the engine gives them.
//!
//! `since` and `until` are sent to spare work; lines are chosen by [`wanted`].

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    container::{Detail, State},
    engine::Engine,
    error::{Error, Subject, clean},
    framing::{Decoder, FramingError, Source},
    http1::Content,
    lines::{Assembler, Line, Runs},
    logs::{FULL, LATE, LogEnd, LogRequest, OVERHEAD, last_time, not_readable, wanted},
    names::ContainerRef,
    status::Watch,
    stream::{Stream, StreamRequest},
};

/// A log that the engine sends.
#[derive(Debug)]
pub(super) struct ApiLogs {
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

impl ApiLogs {
    /// Asks the engine for the log of the container with this id.
    pub(super) async fn open(
        engine: &Engine,
        request: LogRequest,
        id: ContainerRef,
        detail: &Detail,
        now: i64,
        follow: bool,
        ends_at: Option<Instant>,
    ) -> Result<Self, Error> {
        let path = path(&id, &request, follow);
        let opened = Stream::open(
            engine.transport(),
            StreamRequest {
                method: "GET",
                path: &path,
                body: "",
                upgrade: false,
                subject: Subject::Container(request.container.as_str()),
                deadline: engine.deadlines().call,
            },
        )
        .await;
        let stream = opened.map_err(|error| match error {
            Error::Failed { message, .. } if message.contains("does not support reading") => {
                not_readable(&request.container, detail)
            }
            error => error,
        })?;
        let runs = Runs {
            last_start: detail.started.unwrap_or(i64::MIN),
            now,
        };
        Ok(Self {
            engine: engine.clone(),
            id,
            stream,
            decoder: Decoder::new(detail.tty),
            assembler: Assembler::new(detail.tty, runs),
            content: Bytes::new(),
            followed: follow.then_some(detail.started),
            ends_at,
            status: follow.then(|| engine.watch()),
            ended: None,
            request,
        })
    }

    /// Adds the lines that are there to the batch, at least one; or says how the log ended. After
    /// an end there is nothing more. Not to be called again after an error.
    pub(super) async fn next(&mut self, batch: &mut Vec<Line>) -> Result<Option<LogEnd>, Error> {
        let before = batch.len();
        loop {
            let whole = self.take(batch)?;
            if batch.len() > before {
                return Ok(None);
            }
            if let Some(end) = self.ended {
                return Ok(Some(end));
            }
            if whole || !self.more().await? {
                self.decoder.finish().map_err(framing)?;
                let (request, assembler) = (&self.request, &mut self.assembler);
                assembler.finish(&mut |line| {
                    if wanted(request, line.time, line.stderr) {
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
            if wanted(request, line.time, line.stderr) {
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
    // An engine stops at the first line after it, and two streams' lines are not quite in order.
    time("until", last_time(request));
    if let Some(tail) = request.tail {
        path.push_str(&format!("&tail={tail}"));
    }
    path
}

fn framing(error: FramingError) -> Error {
    Error::Protocol(error.to_string())
}
