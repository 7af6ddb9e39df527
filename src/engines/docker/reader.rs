//! One container's log, read on from a place.
//!
//! To find a place at the end of a long log the engine is first asked for the last lines only, which it finds without
//! reading the rest; when the place is not among them, it is asked for everything from shortly before the place on.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{
    engine::Engine,
    error::Error,
    lines::Line,
    logs::{LogEnd, LogRequest, Logs},
    position::{Position, Skip, Verdict},
};

/// So many of the last lines are looked at first.
const HINT: u32 = 256;

/// Lines that may be missing: the engine's rotation has taken them before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last line before it has this time.
    pub after: i64,
    /// The first line behind it has this time.
    pub before: i64,
}

/// A log that is read from a place on. Dropping it ends the engine's work for it.
#[derive(Debug)]
pub struct Reader {
    engine: Engine,
    /// As the caller asked.
    request: LogRequest,
    place: Position,
    hinted: bool,
    logs: Option<Logs>,
    skip: Skip,
    looked_at: u32,
}

/// What a reading came to.
#[derive(Debug)]
pub struct Reading {
    /// New lines.
    pub lines: Vec<Line>,
    /// Before the first of them something may be missing.
    pub gap: Option<Gap>,
    /// The reader for what follows, or how the log ended.
    pub rest: Result<Rest, Error>,
}

/// What follows.
#[derive(Debug)]
pub enum Rest {
    /// There may be more.
    More(Box<Reader>),
    /// There is no more.
    End(LogEnd),
}

impl Reader {
    /// Reads what was asked for and lies behind the place; the request's `tail` is for a log without a place.
    pub fn new(engine: &Engine, request: LogRequest, place: Position) -> Self {
        Self {
            engine: engine.clone(),
            hinted: false,
            logs: None,
            skip: Skip::to(&place),
            looked_at: 0,
            request,
            place,
        }
    }

    /// Looks for the place among the last lines first.
    pub fn near_the_end(self) -> Self {
        let hinted = !self.place.anchors().is_empty();
        Self { hinted, ..self }
    }

    /// Opens the log now, where [`Reader::next`] would.
    pub async fn open(&mut self) -> Result<(), Error> {
        let mut request = self.request.clone();
        if self.hinted {
            (request.tail, request.since) = (Some(HINT), None);
        } else if let Some(since) = self.place.since() {
            request.tail = None;
            request.since = Some(request.since.map_or(since, |asked| asked.max(since)));
        }
        self.logs = Some(self.engine.logs(request).await?);
        Ok(())
    }

    /// The id of the container whose log is open.
    pub fn id(&self) -> &str {
        self.logs.as_ref().map_or("", Logs::id)
    }

    /// Reads the lines that are there, at least one, or to the end. So many logs are opened at a time as there are permits.
    pub async fn next(mut self: Box<Self>, permits: Arc<Semaphore>) -> Reading {
        let mut lines = Vec::new();
        let mut gap = None;
        let rest = loop {
            let Some(logs) = &mut self.logs else {
                // The semaphore is never closed; without a permit it only costs more.
                let permit = permits.acquire().await;
                if let Err(error) = self.open().await {
                    break Err(error);
                }
                drop(permit);
                continue;
            };
            let end = match logs.next(&mut lines).await {
                Ok(end) => end,
                Err(error) => break Err(error),
            };
            if self.skip.is_over() {
                gap = gap.or(rotated(logs, &lines));
            }
            if !self.sift(&mut lines, &mut gap) {
                // Not among the last lines.
                lines.clear();
                (self.logs, self.hinted) = (None, false);
                (self.skip, self.looked_at) = (Skip::to(&self.place), 0);
                continue;
            }
            match end {
                Some(end) => break Ok(Rest::End(end)),
                None if !lines.is_empty() => break Ok(Rest::More(self)),
                None => {}
            }
        };
        Reading { lines, gap, rest }
    }

    /// As [`Reader::next`], for the only reader that there is. After an end or an error there is nothing more.
    pub async fn lines(
        &mut self,
        lines: &mut Vec<Line>,
    ) -> Result<(Option<Gap>, Option<LogEnd>), Error> {
        loop {
            let Some(logs) = &mut self.logs else {
                self.open().await?;
                continue;
            };
            let end = logs.next(lines).await?;
            let mut gap = match self.skip.is_over() {
                true => rotated(logs, lines),
                false => None,
            };
            self.sift(lines, &mut gap);
            if end.is_some() || !lines.is_empty() {
                return Ok((gap, end));
            }
        }
    }

    /// Keeps what lies behind the place; false when the place must be looked for from further before.
    fn sift(&mut self, lines: &mut Vec<Line>, gap: &mut Option<Gap>) -> bool {
        if self.skip.is_over() {
            return true;
        }
        let mut here = true;
        lines.retain(|line| {
            if self.skip.is_over() {
                return true;
            }
            self.looked_at = self.looked_at.saturating_add(1);
            match self.skip.look(line) {
                Verdict::Given => false,
                Verdict::New => true,
                Verdict::Lost(after) => {
                    here = !self.hinted;
                    let before = line.time;
                    *gap = Some(Gap { after, before });
                    true
                }
            }
        });
        // A clock that was set back may have hidden the place behind lines that look older.
        let hidden = self.hinted && !self.skip.is_over() && self.looked_at >= HINT;
        if !here || hidden {
            *gap = None;
            return false;
        }
        if let (true, Some(since)) = (self.hinted, self.request.since) {
            lines.retain(|line| line.time >= since);
        }
        true
    }
}

/// What the reading of files has missed before these lines. While a place is looked for, it is the place that counts.
fn rotated(logs: &mut Logs, lines: &[Line]) -> Option<Gap> {
    let gap = logs.gap()?;
    Some(Gap {
        after: gap.after.unwrap_or_default(),
        before: lines.first().map_or(0, |line| line.time),
    })
}
