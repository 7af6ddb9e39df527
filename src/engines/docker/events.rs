//! The engine's stream of events, over its restarts.
//!
//! ```text
//!  engine ──> reading ──> at most 2 MiB that wait ──> whoever asks for the next
//!                │ ▲
//!                │ └── goes on after the last event, and says whether the engine has forgotten it
//!                └──── cut · engine away · too much waits
//! ```
//! The engine drops what a slow reader does not take in time, and holds up everybody for it; so it is always read, and
//! when too much waits the connection is closed and opened again later.

use std::{collections::HashMap, pin::pin, sync::Arc, time::SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    ask::{Ask, Filters},
    engine::Engine,
    error::{Error, Subject},
    event::{Cursor, DISORDER, Event, Skip, fingerprint},
    status::Watch,
    stream::{Stream, StreamRequest},
};

/// Bytes that wait for the reader, at most.
const BUDGET: usize = 2 << 20;
/// What an event costs besides its text.
const OVERHEAD: usize = 256;
/// The longest event that is believed.
const MAX_EVENT: usize = 16 << 20;

/// Which events.
#[derive(Debug, Clone, Default)]
pub struct EventRequest {
    /// After this one.
    pub after: Option<Cursor>,
    /// From this time on, in nanoseconds since the Unix epoch. None: from now on.
    pub since: Option<i64>,
    /// Until this time. None: for ever.
    pub until: Option<i64>,
    /// With all of these labels; an empty value fits any.
    pub labels: HashMap<String, String>,
    /// The engine's filters by name: any of the values of a name, and all of the names.
    pub only: Vec<(&'static str, String)>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Something happened.
    Event(Event),
    /// The engine is away.
    Interrupted {
        /// Why.
        cause: String,
    },
    /// The stream goes on.
    Resumed {
        /// What happened in between may be forgotten.
        gap: bool,
    },
}

type Waiting = (Result<Happening, Error>, Option<OwnedSemaphorePermit>);

/// A stream of events. Dropping it ends the engine's work for it.
#[derive(Debug)]
pub struct Events {
    waiting: mpsc::Receiver<Waiting>,
    _reading: DropGuard,
}

impl Events {
    /// The next; none at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Happening, Error>> {
        self.waiting.recv().await.map(|(next, _)| next)
    }
}

impl Engine {
    /// Streams events. Fails when the engine is not there at the beginning.
    pub async fn events(&self, request: EventRequest) -> Result<Events, Error> {
        let mut filters = Filters::default();
        for (name, value) in &request.only {
            filters.add(name, value.as_str());
        }
        filters.labels("label", &request.labels);
        let filters = filters.query();
        let (sending, waiting) = mpsc::channel(BUDGET / OVERHEAD);
        let mut reading = Reading {
            engine: self.clone(),
            fingerprint: fingerprint(filters.as_bytes()),
            filters,
            until: request.until,
            since: request.since,
            last: request.after,
            sending,
            budget: Arc::new(Semaphore::new(BUDGET)),
        };
        let first = match request.after {
            Some(_) => reading.resume().await?,
            None => reading.begin().await?,
        };
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let reading = async move {
            if let Err(error) = reading.read(first).await {
                // Nobody is told when nobody reads.
                let _ = reading.sending.send((Err(error), None)).await;
            }
        };
        let tasks = &self.transport().tasks;
        tasks.spawn(async move { stop.run_until_cancelled_owned(reading).await });
        Ok(Events {
            waiting,
            _reading: guard,
        })
    }
}

/// Reads the engine's stream, over and over.
struct Reading {
    engine: Engine,
    filters: String,
    fingerprint: u64,
    since: Option<i64>,
    until: Option<i64>,
    last: Option<Cursor>,
    sending: mpsc::Sender<Waiting>,
    budget: Arc<Semaphore>,
}

/// A stream that has begun.
struct Begun {
    lines: Lines,
    skip: Skip,
    /// Something may have been forgotten. None: it is no continuation.
    gap: Option<bool>,
}

/// Why a stream ended.
enum End {
    /// Its time is over.
    Over,
    /// The reader is behind.
    Behind,
}

impl Reading {
    async fn read(&mut self, first: Begun) -> Result<(), Error> {
        let mut begun = first;
        if let Some(gap) = begun.gap {
            self.tell(Happening::Resumed { gap }).await;
        }
        loop {
            let ended = self.follow(&mut begun).await;
            // The engine must not keep anything for a stream that nobody reads.
            drop(begun);
            let told = match ended {
                Ok(End::Over) => return Ok(()),
                Ok(End::Behind) => {
                    // All of it is free when the reader has taken everything.
                    let all = self.budget.acquire_many(BUDGET as u32).await;
                    drop(all);
                    false
                }
                Err(error @ (Error::Unreachable { .. } | Error::NoAnswer { .. })) => {
                    let cause = error.to_string();
                    self.tell(Happening::Interrupted { cause }).await;
                    true
                }
                Err(error) => return Err(error),
            };
            begun = self.resume_when_there().await?;
            let gap = begun.gap == Some(true);
            if told || gap {
                self.tell(Happening::Resumed { gap }).await;
            }
        }
    }

    async fn tell(&self, happening: Happening) {
        let _ = self.sending.send((Ok(happening), None)).await;
    }

    /// Gives on what comes.
    async fn follow(&mut self, begun: &mut Begun) -> Result<End, Error> {
        while let Some(line) = begun.lines.next().await? {
            let event = Event::read(&line, self.fingerprint);
            let event = event.map_err(|error| Error::Protocol(error.to_string()))?;
            if !begun.skip.is_new(event.cursor) {
                continue;
            }
            let cost = (line.len() + OVERHEAD).min(BUDGET) as u32;
            let budget = Arc::clone(&self.budget);
            let Ok(permit) = budget.try_acquire_many_owned(cost) else {
                return Ok(End::Behind);
            };
            let cursor = event.cursor;
            let waiting = (Ok(Happening::Event(event)), Some(permit));
            if self.sending.try_send(waiting).is_err() {
                return Ok(End::Behind);
            }
            self.last = Some(cursor);
        }
        match self.until {
            Some(_) => Ok(End::Over),
            None => Err(self
                .engine
                .transport()
                .broke("it ended its stream of events")),
        }
    }

    /// Opens the stream for the first time, without a cursor.
    async fn begin(&mut self) -> Result<Begun, Error> {
        let lines = self.open(self.since).await?;
        // From here on it would go on, should nothing have come before a cut.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
        self.since.get_or_insert(now);
        Ok(Begun {
            lines,
            skip: Skip::Nothing,
            gap: None,
        })
    }

    async fn resume_when_there(&mut self) -> Result<Begun, Error> {
        loop {
            match self.resume().await {
                Err(Error::Unreachable { .. } | Error::NoAnswer { .. }) => {}
                resumed => return resumed,
            }
            let mut status = self.engine.watch();
            // The sender is the engine's own.
            let _ = status.wait_for(|status| status.reachable).await;
        }
    }

    /// Opens the stream again, to go on after what was last seen.
    async fn resume(&mut self) -> Result<Begun, Error> {
        let Some(last) = self.last else {
            let lines = self.open(self.since).await?;
            return Ok(Begun {
                lines,
                skip: Skip::Nothing,
                // Nothing was seen that the engine could remember.
                gap: Some(true),
            });
        };
        let lines = self.open(Some(last.nanos.saturating_sub(DISORDER))).await?;
        // What is remembered now was remembered then.
        let remembered = self.remembers(last).await?;
        Ok(Begun {
            lines,
            skip: if remembered && last.filters == self.fingerprint {
                Skip::Through(last)
            } else {
                Skip::To(last.nanos)
            },
            gap: Some(!remembered),
        })
    }

    async fn remembers(&self, last: Cursor) -> Result<bool, Error> {
        let at = seconds(last.nanos);
        let path = format!("/events?since={at}&until={at}");
        let content = self
            .engine
            .ask_bytes(Ask::get(&path, Subject::Engine))
            .await?;
        let mut lines = content.as_ref().split(|byte: &u8| *byte == b'\n');
        Ok(lines.any(|line| fingerprint(line) == last.event))
    }

    async fn open(&self, since: Option<i64>) -> Result<Lines, Error> {
        let mut path = format!("/events?{}", self.filters);
        for (name, nanos) in [("since", since), ("until", self.until)] {
            if let Some(nanos) = nanos {
                path.push_str(&format!("&{name}={}", seconds(nanos)));
            }
        }
        let request = StreamRequest {
            method: "GET",
            path: &path,
            body: "",
            upgrade: false,
            subject: Subject::Engine,
            deadline: self.engine.deadlines().call,
        };
        Ok(Lines {
            stream: Stream::open(self.engine.transport(), request).await?,
            status: self.engine.watch(),
            engine: self.engine.clone(),
            buffer: BytesMut::new(),
        })
    }
}

/// As the engine takes it.
fn seconds(nanos: i64) -> String {
    let nanos = nanos.max(0);
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// The lines of a stream.
struct Lines {
    stream: Stream,
    status: Watch,
    engine: Engine,
    buffer: BytesMut,
}

impl Lines {
    /// The next line; none at the end. An engine may be silent for ever, and so may one that hangs: when it does
    /// not answer others, it is asked.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let mut searched = 0;
        loop {
            let end = memchr::memchr(b'\n', self.buffer.get(searched..).unwrap_or_default());
            if let Some(end) = end {
                let line = self.buffer.split_to(searched + end).freeze();
                self.buffer.advance(1);
                searched = 0;
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(line));
                }
                continue;
            }
            searched = self.buffer.len();
            if searched > MAX_EVENT {
                return Err(Error::Protocol("an event is too long".to_owned()));
            }
            let more = {
                let mut more = pin!(self.stream.next());
                loop {
                    tokio::select! {
                        biased;
                        more = &mut more => break more?,
                        () = self.status.away() => {
                            self.engine.transport().probe().await?;
                        }
                    }
                }
            };
            match more {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_takes_seconds_with_nine_decimals() {
        assert_eq!(seconds(1_795_578_340_000_000_005), "1795578340.000000005");
        assert_eq!(seconds(-5), "0.000000000");
    }
}
