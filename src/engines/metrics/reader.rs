//! Reads samples for whoever asks, and keeps one every step.

use std::{
    fmt,
    sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Mutex, Notify, Semaphore},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{
    ContainerSample, Step,
    history::{History, STEP},
    roster::{For, Roster},
};
use crate::engines::{
    docker::{Engine, Error},
    host::{HostReader, HostRoot, HostSample, Missing, processes, temperatures},
};

/// How far apart two readings are that are made to be compared.
const APART: Duration = Duration::from_secs(1);
/// An earlier reading is compared with when it is at least so old ...
const YOUNGEST: Duration = Duration::from_millis(500);
/// ... and at most so.
const OLDEST: Duration = Duration::from_secs(30);
/// The history goes on so long after the last caller, which is as long as it reaches back: see
/// docs/decisions/0011-history-for-those-who-ask.md.
const INTEREST: Duration = Duration::from_secs(3600);

/// What else a sample of the host is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Temperatures.
    pub temperatures: bool,
    /// So many processes by CPU, and by memory.
    pub processes: usize,
    /// Their command lines.
    pub command_lines: bool,
}

/// The figures of a host and its containers. Clones are the same.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    began: Instant,
    root: HostRoot,
    host: Mutex<HostReader>,
    roster: Mutex<Roster>,
    history: StdMutex<History>,
    /// The latest readings, to compare the next ones with.
    last: StdMutex<(Option<HostSample>, Option<ContainerSample>)>,
    /// When a caller last asked, for the host or for containers.
    asked: StdMutex<Asked>,
    /// Somebody asked.
    wanted: Notify,
    /// One reading of sensors at a time: each may be held by a chip.
    sensors: Arc<Semaphore>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    any: Option<Instant>,
    containers: Option<Instant>,
}

/// Whether there is still interest in what was asked for then.
fn lasts(asked: Option<Instant>) -> bool {
    asked.is_some_and(|asked| asked.elapsed() < INTEREST)
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("root", &self.inner.root)
            .finish_non_exhaustive()
    }
}

impl Metrics {
    /// Of this host and this engine's containers. Nothing is read yet.
    pub fn new(engine: Engine, root: HostRoot) -> Self {
        Self {
            inner: Arc::new(Inner {
                began: Instant::now(),
                host: Mutex::new(HostReader::new(root.clone())),
                roster: Mutex::new(Roster::new(engine, root.clone())),
                root,
                history: StdMutex::default(),
                last: StdMutex::default(),
                asked: StdMutex::default(),
                wanted: Notify::new(),
                sensors: Arc::new(Semaphore::new(1)),
            }),
        }
    }

    /// Keeps a step every 10 s while somebody has asked for figures within the last hour, for ever.
    pub async fn keep(&self) {
        loop {
            self.inner.wanted.notified().await;
            let mut steps = interval(STEP);
            // After a pause of the process the steps go on; none are made up.
            steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while lasts(lock(&self.inner.asked).any) {
                steps.tick().await;
                let step = self.step().await;
                self.history().push(&step);
            }
            // What is older than an hour is of no use to whoever comes next.
            self.history().forget();
            self.inner.roster.lock().await.rest();
        }
    }

    /// A caller asks for figures: from now on, and for an hour after the last time, the history is kept.
    pub fn ask(&self, containers: bool) {
        let now = Some(Instant::now());
        let mut asked = lock(&self.inner.asked);
        asked.any = now;
        if containers {
            asked.containers = now;
        }
        drop(asked);
        self.inner.wanted.notify_one();
    }

    /// One step, as the history keeps it. Where the engine has to be asked for the figures of containers, it has
    /// them only while somebody asks for those.
    pub async fn step(&self) -> Step {
        let (mut host, temperatures) = tokio::join!(self.read_host(), async {
            // A chip that holds whoever reads it does not hold up every step.
            match self.inner.sensors.available_permits() {
                0 => None,
                _ => temperatures(&self.inner.root, &self.inner.sensors)
                    .await
                    .ok(),
            }
        });
        host.temperatures = temperatures.unwrap_or_default();
        let engine = lasts(lock(&self.inner.asked).containers);
        let containers = self.read_containers(For::History { engine }).await.ok();
        Step { host, containers }
    }

    /// What is kept.
    pub fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.inner.history)
    }

    /// The time since the agent's start, by a clock that nobody sets, as samples tell it.
    pub fn tick(&self) -> Duration {
        self.inner.began.elapsed()
    }

    /// The host now.
    pub async fn host(&self, wanted: Wanted) -> HostSample {
        let before = match wanted.processes {
            0 => None,
            _ => Some(self.processes().await),
        };
        if before.is_some() {
            sleep(APART).await;
        }
        let mut sample = self.read_host().await;
        if let Some((then, before)) = before {
            let (at, now) = self.processes().await;
            let (root, over) = (self.inner.root.clone(), at - then);
            let top = move || {
                let Wanted {
                    processes,
                    command_lines,
                    ..
                } = wanted;
                processes::top(&root, &before, now, over, processes, command_lines)
            };
            sample.processes = tokio::task::spawn_blocking(top).await.unwrap_or_default();
        }
        if wanted.temperatures {
            match temperatures(&self.inner.root, &self.inner.sensors).await {
                Ok(found) => sample.temperatures = found,
                Err(missing) => sample.missing.push(missing),
            }
        }
        sample
    }

    /// The host, and an earlier reading that it can be compared with, a second ago if there was none.
    pub async fn host_compared(&self, wanted: Wanted) -> (HostSample, HostSample) {
        let tick = self.tick();
        let last = lock(&self.inner.last).0.clone();
        let before = match last.filter(|last| fits(last.tick, tick)) {
            Some(last) => last,
            None => {
                let first = self.read_host().await;
                sleep(APART).await;
                first
            }
        };
        (before, self.host(wanted).await)
    }

    /// The containers now.
    pub async fn containers(&self) -> Result<ContainerSample, Error> {
        self.read_containers(For::Caller).await
    }

    /// The containers, and an earlier reading that these can be compared with, a second ago if there was none.
    /// `which` says of an id whether it is asked for.
    pub async fn containers_compared(
        &self,
        which: impl Fn(&ContainerSample) -> Vec<Arc<str>>,
    ) -> Result<(ContainerSample, ContainerSample), Error> {
        let last = lock(&self.inner.last).1.clone();
        let now = self.containers().await?;
        if let Some(last) = last.filter(|last| fits(last.tick, now.tick)) {
            let known = |id: &Arc<str>| last.usage(id).is_some();
            if which(&now).iter().all(known) {
                return Ok((last, now));
            }
        }
        sleep(APART).await;
        let later = self.containers().await?;
        Ok((now, later))
    }

    async fn processes(&self) -> (Instant, Vec<processes::Process>) {
        let root = self.inner.root.clone();
        let reading = tokio::task::spawn_blocking(move || processes::all(&root));
        (Instant::now(), reading.await.unwrap_or_default())
    }

    async fn read_host(&self) -> HostSample {
        let mut host = self.inner.host.lock().await;
        let (time, tick) = self.now();
        let sample = host.read(time, tick).await;
        drop(host);
        let mut last = lock(&self.inner.last);
        // What is computed from readings that lie close together says little.
        if last
            .0
            .as_ref()
            .is_none_or(|last| tick.saturating_sub(last.tick) >= YOUNGEST)
        {
            last.0 = Some(sample.clone());
        }
        sample
    }

    async fn read_containers(&self, whom: For) -> Result<ContainerSample, Error> {
        let memory = lock(&self.inner.last)
            .0
            .as_ref()
            .and_then(|host| host.memory.total);
        let mut roster = self.inner.roster.lock().await;
        let mut missing = Vec::<Missing>::new();
        let rows = roster.read(whom, memory, &mut missing).await;
        // The list of containers may have taken its time; the files were read just now.
        let (time, tick) = self.now();
        drop(roster);
        let sample = ContainerSample {
            time,
            tick,
            rows: rows?,
            missing,
        };
        let mut last = lock(&self.inner.last);
        if last
            .1
            .as_ref()
            .is_none_or(|last| tick.saturating_sub(last.tick) >= YOUNGEST)
        {
            last.1 = Some(sample.clone());
        }
        Ok(sample)
    }

    fn now(&self) -> (SystemTime, Duration) {
        (SystemTime::now(), self.tick())
    }
}

fn fits(then: Duration, now: Duration) -> bool {
    (YOUNGEST..=OLDEST).contains(&now.saturating_sub(then))
}

fn lock<T>(mutex: &StdMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
