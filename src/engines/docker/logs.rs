//! Logs of containers: from the engine's own files where they can be read, else as fast as the engine gives them.
//!
//! Both ways give the same lines, and every line is looked at here again: what an engine makes of parts of a second in its
//! `since` and `until` has changed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::{
    address::EngineAddress,
    container::{Detail, State},
    engine::Engine,
    error::Error,
    lines::Line,
    logfile::{FileLogs, follow::Follow},
    logs_api::ApiLogs,
    names::{ContainerRef, NameError},
    version::ApiVersion,
};

/// A batch is given when it has so many bytes, its lines' overhead included.
pub(super) const FULL: usize = 512 << 10;
/// What a line costs beside its content.
pub(super) const OVERHEAD: usize = 32;
/// A line can arrive so long after its time, and so far behind later ones.
pub(super) const LATE: Duration = Duration::from_millis(500);

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

/// Why lines are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapCause {
    /// The engine has removed or cut a file before it was read to its end.
    Rotated,
    /// A part of a file is no record: after a crash, for example.
    Damaged,
}

/// A place in a log where lines are missing, as far as can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Why. The first of several reasons.
    pub cause: GapCause,
    /// The time of the last line before it. None when it is at the beginning of what was read.
    pub after: Option<i64>,
    /// So many bytes of the file could not be read as records. 0 when it is not known how much is missing.
    pub bytes: u64,
}

/// A log that is being read. Dropping it ends the engine's work for it.
#[derive(Debug)]
pub struct Logs {
    /// The container itself: another one may get its name.
    id: ContainerRef,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Api(Box<ApiLogs>),
    Files(Box<FileLogs>),
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
        let ends_at = left
            .filter(|_| follow)
            .and_then(|left| u64::try_from(left).ok())
            .and_then(|left| {
                Instant::now().checked_add(Duration::from_nanos(left).saturating_add(LATE))
            });
        // Paths that another host's engine tells mean nothing here.
        if matches!(self.address(), EngineAddress::Unix(_))
            && (!follow || self.transport().known.agreed() >= Some(ApiVersion::TELLS_AT_ONCE))
            && let Some(files) = FileLogs::find(self, &detail)
        {
            let follow = if follow {
                Some(Follow::begin(self, &id, ends_at).await?)
            } else {
                None
            };
            if let Some(files) = files.open(self, &request, follow).await {
                let way = Way::Files(Box::new(files));
                return Ok(Logs { id, way });
            }
        }
        let api = ApiLogs::open(self, request, id.clone(), &detail, now, follow, ends_at).await?;
        let way = Way::Api(Box::new(api));
        Ok(Logs { id, way })
    }
}

/// A container's log driver keeps nothing.
pub(super) fn not_readable(container: &ContainerRef, detail: &Detail) -> Error {
    Error::LogsNotReadable {
        container: container.to_string(),
        driver: detail.log_driver.clone(),
    }
}

impl Logs {
    /// The container's full id.
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Adds the lines that are there to the batch, at least one; or says how the log ended. After
    /// an end there is nothing more. Not to be called again after an error.
    pub async fn next(&mut self, batch: &mut Vec<Line>) -> Result<Option<LogEnd>, Error> {
        match &mut self.way {
            Way::Api(api) => api.next(batch).await,
            Way::Files(files) => files.next(batch).await,
        }
    }

    /// What is missing right before the first line that [`Logs::next`] gave last, or before the end that it told. None when
    /// nothing is, and when the engine is read from, which does not say.
    pub fn gap(&mut self) -> Option<Gap> {
        match &mut self.way {
            Way::Api(_) => None,
            Way::Files(files) => files.gap(),
        }
    }

    /// Whether the engine's own files are read.
    pub fn reads_files(&self) -> bool {
        matches!(self.way, Way::Files(_))
    }
}

/// Behind a line of a later time nothing is wanted any more.
pub(super) fn last_time(request: &LogRequest) -> Option<i64> {
    let late = i64::try_from(LATE.as_nanos()).unwrap_or_default();
    request.until.map(|until| until.saturating_add(late))
}

/// Whether a record of this time and stream was asked for.
pub(super) fn wanted(request: &LogRequest, time: i64, stderr: bool) -> bool {
    request.since.is_none_or(|since| time >= since)
        && request.until.is_none_or(|until| time < until)
        && if stderr {
            request.stderr
        } else {
            request.stdout
        }
}
