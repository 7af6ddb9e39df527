//! A stream of samples: those that are kept, then one per interval.
//!
//! ```text
//!  since ──▶ Kept ── no further step ──▶ Live ──▶ …
//!             ▲                            │
//!             └── the reader was slow ─────┘
//! ```
//! A reader that was slow, or away behind the tunnel, is first given what was kept meanwhile.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::super::error;
use crate::engines::{
    host::HostSample,
    metrics::{Bookmark, ContainerSample, Metrics, STEP, Step, Wanted},
};

/// What can be followed.
pub(super) trait Sampled: Clone + Send + Sync + 'static {
    /// Whether these are containers.
    const CONTAINERS: bool;
    fn of(step: Step) -> Option<Self>;
    fn tick(&self) -> Duration;
    fn now(metrics: &Metrics) -> impl Future<Output = Result<Self, Status>> + Send;
    /// An earlier reading to compare it with, and the sample.
    fn compared(metrics: &Metrics) -> impl Future<Output = Result<(Self, Self), Status>> + Send;
}

const LIVE: Wanted = Wanted {
    temperatures: true,
    processes: 0,
    command_lines: false,
};

impl Sampled for HostSample {
    const CONTAINERS: bool = false;

    fn of(step: Step) -> Option<Self> {
        Some(step.host)
    }

    fn tick(&self) -> Duration {
        self.tick
    }

    async fn now(metrics: &Metrics) -> Result<Self, Status> {
        Ok(metrics.host(LIVE).await)
    }

    async fn compared(metrics: &Metrics) -> Result<(Self, Self), Status> {
        Ok(metrics.host_compared(LIVE).await)
    }
}

impl Sampled for ContainerSample {
    const CONTAINERS: bool = true;

    fn of(step: Step) -> Option<Self> {
        step.containers
    }

    fn tick(&self) -> Duration {
        self.tick
    }

    async fn now(metrics: &Metrics) -> Result<Self, Status> {
        metrics.containers().await.map_err(error::docker)
    }

    async fn compared(metrics: &Metrics) -> Result<(Self, Self), Status> {
        let all = |now: &Self| now.rows.iter().map(|row| row.id.clone()).collect();
        let compared = metrics.containers_compared(all).await;
        compared.map_err(error::docker)
    }
}

/// A sample of a stream.
pub(super) struct Next<S> {
    pub(super) sample: S,
    pub(super) before: Option<S>,
    pub(super) kept: bool,
    /// Of the oldest that is kept; in the first message of a stream that asked for kept ones.
    pub(super) kept_since: Option<SystemTime>,
}

/// Follows samples.
pub(super) struct Follow<S> {
    metrics: Metrics,
    interval: Duration,
    since: Option<SystemTime>,
    /// None: live.
    kept: Option<Bookmark>,
    steps: VecDeque<S>,
    last: Option<S>,
}

impl<S: Sampled> Follow<S> {
    pub(super) fn new(metrics: Metrics, interval: Duration, since: Option<SystemTime>) -> Self {
        let kept = since.map(|since| metrics.history().after(since));
        Self {
            metrics,
            interval,
            since,
            kept,
            steps: VecDeque::new(),
            last: None,
        }
    }

    /// The next sample, when it is due.
    pub(super) async fn next(&mut self) -> Result<Next<S>, Status> {
        // As long as the stream goes on, so does the history.
        self.metrics.ask(S::CONTAINERS);
        let asked = self.since.take().is_some();
        let kept_since = asked.then(|| self.metrics.history().oldest()).flatten();
        if self.is_behind() {
            let last = self.last.as_ref().map(S::tick).unwrap_or_default();
            self.kept = Some(self.metrics.history().after_tick(last));
        }
        if let Some((sample, before)) = self.next_kept() {
            self.last = Some(sample.clone());
            return Ok(Next {
                sample,
                before,
                kept: true,
                kept_since,
            });
        }
        let (before, sample) = match self.last.take() {
            Some(last) => {
                sleep_until(self.due(&last)).await;
                let sample = S::now(&self.metrics).await?;
                (Some(last), sample)
            }
            None => {
                let (before, sample) = S::compared(&self.metrics).await?;
                (Some(before), sample)
            }
        };
        self.last = Some(sample.clone());
        Ok(Next {
            sample,
            before,
            kept: false,
            kept_since,
        })
    }

    fn due(&self, last: &S) -> Instant {
        let passed = self.metrics.tick().saturating_sub(last.tick());
        Instant::now() + self.interval.saturating_sub(passed)
    }

    /// Whether samples are due that could not be made in time.
    fn is_behind(&self) -> bool {
        let late = |last: &S| self.metrics.tick().saturating_sub(last.tick());
        let late = self.last.as_ref().map(late);
        self.kept.is_none() && late.is_some_and(|late| late >= self.interval + STEP)
    }

    fn next_kept(&mut self) -> Option<(S, Option<S>)> {
        loop {
            while let Some(sample) = self.steps.pop_front() {
                let before = self.last.as_ref();
                // Steps have a little play.
                let due = |before: &S| before.tick() + self.interval.saturating_sub(STEP / 2);
                if before.is_none_or(|before| sample.tick() >= due(before)) {
                    return Some((sample, self.last.take()));
                }
            }
            let from = self.kept?;
            let (before, steps, next) = self.metrics.history().read(from);
            if steps.is_empty() {
                self.kept = None;
                return None;
            }
            if self.last.is_none() {
                self.last = before.and_then(S::of);
                // It only serves to be compared with: the first step is due in any case.
                let mut steps = steps.into_iter().filter_map(S::of);
                let first = steps.next();
                self.steps.extend(steps);
                self.kept = Some(next);
                if let Some(first) = first {
                    return Some((first, self.last.take()));
                }
                continue;
            }
            self.steps.extend(steps.into_iter().filter_map(S::of));
            self.kept = Some(next);
        }
    }
}

#[cfg(test)]
#[path = "follow_test.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
