//! All calls of a serving end, by owner and id, and the bounds on what is kept of them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::{
    Inner, Settings,
    call::{Call, Key},
};
use crate::{FIRST_WINDOW, budget::Budget, flow::RecvBody, socket::Instance, sync::lock};

/// Ids that are remembered, at most.
const MAX_REMEMBERED: usize = 16 * 1024;

pub(crate) struct Table {
    settings: Settings,
    state: Mutex<State>,
    bounds: Arc<Bounds>,
}

/// What all calls of a table keep together.
#[derive(Default)]
pub(crate) struct Bounds {
    kept: AtomicUsize,
    pub(crate) growth: Budget,
}

impl Bounds {
    pub(crate) fn keep(&self, bytes: usize) {
        self.kept.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A body is gone, and its window.
    pub(crate) fn shrink(&self, body: &RecvBody) {
        self.growth
            .give_back(body.window().saturating_sub(FIRST_WINDOW));
    }
}

#[derive(Default)]
struct State {
    calls: HashMap<Key, Arc<Call>>,
    running: usize,
    refusing: bool,
    remembered: HashSet<Key>,
    remembered_since: VecDeque<(Instant, Key)>,
    /// Ids were forgotten before their time: until then an unknown one may be one of them.
    forgetful_until: Option<Instant>,
    sweeping: bool,
}

/// What a table knows of a call.
pub(crate) enum Known {
    Here(Arc<Call>),
    WasHere,
    Never,
}

/// Whether a table took a new call.
pub(crate) enum Inserted {
    Yes,
    /// Too many run, or none are taken any more.
    Refused,
    /// The call came by another link at the same moment.
    Known(Known),
}

impl Table {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: Mutex::default(),
            bounds: Arc::default(),
        }
    }

    /// What is known of a call. `again`: its caller says that it was told before.
    pub(crate) fn look_up(&self, key: &Key, again: bool) -> Known {
        lock(&self.state).look_up(key, again)
    }

    /// Takes a new call, unless too many run or none are taken any more.
    pub(crate) fn insert(&self, call: &Arc<Call>, again: bool) -> Inserted {
        let mut state = lock(&self.state);
        match state.look_up(&call.key, again) {
            Known::Never => {}
            known => return Inserted::Known(known),
        }
        if state.refusing || state.running >= self.settings.max_calls {
            return Inserted::Refused;
        }
        state.running += 1;
        state.calls.insert(call.key.clone(), Arc::clone(call));
        Inserted::Yes
    }

    /// What every call of this table counts what it keeps in.
    pub(crate) fn bounds(&self) -> Arc<Bounds> {
        Arc::clone(&self.bounds)
    }

    /// As much is kept in all as may be.
    pub(crate) fn is_crowded(&self) -> bool {
        self.bounds.kept.load(Ordering::Relaxed) >= self.settings.kept_bytes
    }

    pub(crate) fn running(&self) -> usize {
        lock(&self.state).running
    }

    pub(crate) fn refuse_new(&self) {
        lock(&self.state).refusing = true;
    }

    /// The handler is done; its answer is kept until the caller has it.
    pub(crate) fn ended(&self, call: &Arc<Call>, finished: bool) {
        let mut state = lock(&self.state);
        if finished && state.calls.contains_key(&call.key) {
            lock(&call.state).finished_at = Some(Instant::now());
        } else {
            state.forget(&call.key);
        }
    }

    /// The handler's task is gone, however it ended.
    pub(crate) fn stopped(&self) {
        let mut state = lock(&self.state);
        state.running = state.running.saturating_sub(1);
    }

    /// The caller has the answer, or wants none: the call is over.
    pub(crate) fn remove(&self, key: &Key) {
        let call = lock(&self.state).forget(key);
        if let Some(call) = call {
            call.abort();
        }
    }

    /// Ends the call with this id, if its owner is one of those.
    pub(crate) fn remove_by_id(&self, id: Instance, owner: impl Fn(&str) -> bool) {
        self.cancel_if(|call| call.key.id == id && owner(&call.key.owner));
    }

    pub(crate) fn cancel_owner(&self, owner: &str) {
        self.cancel_if(|call| &*call.key.owner == owner);
    }

    pub(crate) fn cancel_all(&self) {
        self.cancel_if(|_| true);
    }

    fn cancel_if(&self, condition: impl Fn(&Call) -> bool) {
        let mut state = lock(&self.state);
        let keys: Vec<Key> = state
            .calls
            .values()
            .filter(|call| condition(call))
            .map(|call| call.key.clone())
            .collect();
        let calls: Vec<_> = keys.iter().filter_map(|key| state.forget(key)).collect();
        drop(state);
        for call in calls {
            call.abort();
        }
    }

    /// Forgets what is too old, and what is too much. Answers when to look again. `by_timer`: the one who
    /// looks again asks.
    fn sweep(&self, now: Instant, by_timer: bool) -> Option<Instant> {
        let mut state = lock(&self.state);
        state.forget_remembered(now, &self.settings);
        let mut next: Option<Instant> = None;
        let mut sooner = |due: Instant| next = Some(next.map_or(due, |next| next.min(due)));
        let mut over = Vec::new();
        let mut idle = Vec::new();
        for call in state.calls.values() {
            let (since, finished, bytes) = {
                let call = lock(&call.state);
                match call.idle() {
                    Some((since, finished)) => (since, finished, call.counted()),
                    None => {
                        if call.finished_at.is_some() {
                            // Its answer is on its way, at the caller's pace.
                            sooner(now + self.settings.finished_for);
                        }
                        continue;
                    }
                }
            };
            let due = since
                + match finished {
                    true => self.settings.finished_for,
                    false => self.settings.detached_for,
                };
            if due <= now {
                over.push(call.key.clone());
            } else {
                sooner(due);
                idle.push((!finished, since, call.key.clone(), bytes));
            }
        }
        let mut kept = self.bounds.kept.load(Ordering::Relaxed);
        if kept > self.settings.kept_bytes {
            // Finished answers go first, then what has been detached for longest; some more than need
            // be, so that the next call does not look through all of them again.
            idle.sort_by_key(|(running, since, _, _)| (*running, *since));
            let enough = self.settings.kept_bytes / 8 * 7;
            for (_, _, key, bytes) in idle {
                if kept <= enough {
                    break;
                }
                kept = kept.saturating_sub(bytes);
                over.push(key);
            }
        }
        let calls: Vec<_> = over.iter().filter_map(|key| state.forget(key)).collect();
        let remembered = state
            .remembered_since
            .front()
            .map(|(at, _)| *at + self.settings.remembered_for);
        let next = next.into_iter().chain(remembered).min();
        if by_timer {
            state.sweeping = next.is_some();
        }
        drop(state);
        for call in calls {
            call.abort();
        }
        next
    }

    /// Sees to it that what is kept is swept in time, and at once when it is too much.
    pub(crate) fn sweep_later(inner: &Arc<Inner>) {
        let table = &inner.table;
        if table.is_crowded() {
            table.sweep(Instant::now(), false);
        }
        if std::mem::replace(&mut lock(&table.state).sweeping, true) {
            return;
        }
        let weak = Arc::downgrade(inner);
        let stop = inner.stop.clone();
        inner.timers.spawn(async move {
            let _ = stop.run_until_cancelled(sweep_in_time(weak)).await;
        });
    }
}

async fn sweep_in_time(inner: Weak<Inner>) {
    loop {
        let Some(inner) = inner.upgrade() else { return };
        let Some(next) = inner.table.sweep(Instant::now(), true) else {
            return;
        };
        let Settings {
            finished_for,
            detached_for,
            ..
        } = inner.settings;
        drop(inner);
        let longest = Instant::now() + finished_for.min(detached_for);
        tokio::time::sleep_until(next.min(longest).into()).await;
    }
}

impl State {
    fn look_up(&self, key: &Key, again: bool) -> Known {
        match self.calls.get(key) {
            Some(call) => Known::Here(Arc::clone(call)),
            None if self.remembered.contains(key) => Known::WasHere,
            None if again && self.forgetful_until.is_some() => Known::WasHere,
            None => Known::Never,
        }
    }

    fn forget(&mut self, key: &Key) -> Option<Arc<Call>> {
        let call = self.calls.remove(key)?;
        if call.remember && self.remembered.insert(key.clone()) {
            self.remembered_since
                .push_back((Instant::now(), key.clone()));
        }
        while self.remembered_since.len() > MAX_REMEMBERED {
            self.forget_oldest_remembered();
            self.forgetful_until = self.remembered_since.back().map(|(at, _)| *at);
        }
        Some(call)
    }

    fn forget_remembered(&mut self, now: Instant, settings: &Settings) {
        while self
            .remembered_since
            .front()
            .is_some_and(|(at, _)| *at + settings.remembered_for <= now)
        {
            self.forget_oldest_remembered();
        }
        let is_over = |until: Instant| until + settings.remembered_for <= now;
        self.forgetful_until = self.forgetful_until.filter(|until| !is_over(*until));
    }

    fn forget_oldest_remembered(&mut self) {
        if let Some((_, key)) = self.remembered_since.pop_front() {
            self.remembered.remove(&key);
        }
    }
}
