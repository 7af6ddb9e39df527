//! What a change of the link means for the calls that are open.

use std::{sync::Arc, time::Instant};

use tonic::Status;

use super::{CANCELLED_FOR, Inner, WAIT_FOR_AGENT, cancel};
use crate::{error, outbox::Outbox, presence::Presence, sync::lock};

impl Inner {
    /// A link told whether whom it leads to is there.
    pub(crate) fn linked(self: &Arc<Self>, outbox: &Arc<Outbox>, presence: Presence) {
        if presence.connected {
            self.attach(outbox, presence);
        } else {
            let mut state = lock(&self.state);
            state.outbox = Some(Arc::clone(outbox));
            state.refused = None;
            drop(state);
            self.detach(Some(presence));
        }
    }

    /// Every open call goes on over this link.
    fn attach(&self, outbox: &Arc<Outbox>, presence: Presence) {
        let mut state = lock(&self.state);
        let same_link = state
            .outbox
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, outbox));
        if same_link && self.presence.borrow().is_same_connection(&presence) {
            return;
        }
        state.outbox = Some(Arc::clone(outbox));
        state.refused = None;
        state.away_since = None;
        if let Some(task) = state.giving_up.take() {
            task.abort();
        }
        state
            .cancelled
            .retain(|(at, _)| at.elapsed() < CANCELLED_FOR);
        for index in 0..state.cancelled.len() {
            let stream = state.new_stream();
            if let Some((_, id)) = state.cancelled.get(index) {
                outbox.push_first(0, cancel(stream, Some(*id)));
            }
        }
        let calls: Vec<_> = state.calls.values().cloned().collect();
        self.presence.send_replace(presence.clone());
        for call in calls {
            call.attach(outbox, &presence);
        }
    }

    /// The link is gone. Open calls wait for the next one.
    pub(crate) fn unlinked(self: &Arc<Self>, presence: Option<Presence>) {
        lock(&self.state).outbox = None;
        self.detach(presence);
    }

    fn detach(self: &Arc<Self>, presence: Option<Presence>) {
        let mut state = lock(&self.state);
        for call in state.calls.values() {
            call.detach();
        }
        if let Some(presence) = presence {
            self.presence.send_replace(presence);
        }
        let since = *state.away_since.get_or_insert_with(Instant::now);
        if state.giving_up.is_none() && !state.calls.is_empty() {
            let weak = Arc::downgrade(self);
            let dropped = self.dropped.clone();
            let task = self.tasks.spawn(async move {
                let wait = tokio::time::sleep(WAIT_FOR_AGENT);
                if dropped.run_until_cancelled(wait).await.is_some()
                    && let Some(inner) = weak.upgrade()
                {
                    inner.give_up(since);
                }
            });
            state.giving_up = Some(task.abort_handle());
        }
    }

    /// There will be no link: whatever waits for one fails.
    pub(crate) fn refuse(&self, status: Status) {
        let mut state = lock(&self.state);
        let calls: Vec<_> = state.calls.drain().map(|(_, call)| call).collect();
        state.refused = Some(status.clone());
        drop(state);
        // Wakes the calls that wait for a link.
        self.presence.send_modify(|_| {});
        for call in calls {
            call.fail(status.clone());
        }
    }

    fn give_up(&self, since: Instant) {
        let mut state = lock(&self.state);
        if state.away_since != Some(since) {
            return;
        }
        state.giving_up = None;
        let calls: Vec<_> = state.calls.drain().map(|(_, call)| call).collect();
        drop(state);
        for call in calls {
            call.fail(error::call_lost());
        }
    }
}
