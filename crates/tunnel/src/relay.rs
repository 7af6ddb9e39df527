//! One agent as its control plane sees it: its link, the control plane's own calls, and the relay of
//! other callers' links.
//!
//! The relay keeps no call: it knows which slot is which caller's link, sets the slot, names the caller in
//! each command, and drops frames of the connection that a caller sends.

mod packets;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Instant, SystemTime},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use packets::{class, refuse, relay_all, stamp};

use crate::{
    Channel, FIRST_WINDOW, Methods, Settings,
    agent::SessionEnd,
    ending::{CloseCode, Closing, EndReason},
    frames::{COMMAND, OutFrame, RawPacket},
    handshake::Greeted,
    link::{Side, drive, say_goodbye},
    outbox::Outbox,
    presence::Presence,
    proto::{self, Detach, frame::Kind},
    socket::{Instance, Socket},
    sync::lock,
};

/// One agent that a control plane knows, connected or not. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    inner: Arc<Inner>,
}

struct Inner {
    agent: String,
    channel: Channel,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    agent: Option<Arc<Outbox>>,
    callers: HashMap<u32, Arc<Outbox>>,
    last_slot: u32,
    heartbeat: Option<proto::Heartbeat>,
}

impl Remote {
    /// Knows an agent that has not connected yet.
    pub fn new(agent: &str, methods: Methods, settings: &Settings) -> Self {
        let windows = (settings.first_window, settings.max_window);
        Self {
            inner: Arc::new(Inner {
                agent: agent.to_owned(),
                channel: Channel::new(methods, windows, true, Presence::away(agent)),
                state: Mutex::default(),
            }),
        }
    }

    /// The control plane as a caller of this agent.
    pub fn channel(&self) -> Channel {
        self.inner.channel.clone()
    }

    /// Tells whether the agent is there, and every change of that.
    pub fn presence(&self) -> watch::Receiver<Presence> {
        self.inner.channel.presence()
    }

    /// What the agent last said of itself on this connection.
    pub fn heartbeat(&self) -> Option<proto::Heartbeat> {
        lock(&self.inner.state).heartbeat
    }

    /// Says when the agent was last connected, as far as is known from before this process.
    pub fn set_last_seen(&self, last_seen: Option<SystemTime>) {
        self.inner
            .channel
            .inner
            .presence
            .send_if_modified(|presence| {
                let unknown = presence.last_seen.is_none() && !presence.connected;
                if unknown {
                    presence.last_seen = last_seen;
                }
                unknown
            });
    }

    /// Ends the agent's connection, if there is one. `true` when there was.
    pub fn disconnect(&self, code: CloseCode, reason: &str) -> bool {
        match &lock(&self.inner.state).agent {
            Some(outbox) => {
                outbox.close(Closing::new(code, reason));
                true
            }
            None => false,
        }
    }

    /// Tells the agent that its connection will end, and how long to wait before it dials again.
    pub fn say_goodbye(&self, goodbye: proto::Goodbye) {
        if let Some(outbox) = &lock(&self.inner.state).agent {
            outbox.push_first(0, OutFrame::new(0, Kind::Goodbye(goodbye)));
        }
    }

    /// Drives the agent's connection until it ends. It takes the place of an earlier one.
    pub async fn run_agent(&self, greeted: Greeted, cancel: CancellationToken) -> SessionEnd {
        let Greeted {
            mut socket, hello, ..
        } = greeted;
        let began = Instant::now();
        let outbox = Arc::new(Outbox::new());
        let presence = Presence {
            agent: self.inner.agent.clone(),
            connected: true,
            instance: Instance::from_bytes(&hello.instance),
            dial: hello.dial,
            window: match hello.window {
                0 => FIRST_WINDOW,
                window => window,
            },
            last_seen: Some(SystemTime::now()),
        };
        if !self.connect(&outbox, presence) {
            let stale = "a later dial of this agent is connected already";
            let closing = Closing::new(CloseCode::Superseded, stale);
            let (code, reason) = (closing.code, closing.reason.clone());
            say_goodbye(&mut socket, closing).await;
            return SessionEnd::new(EndReason::ClosedHere { code, reason }, began.elapsed());
        }
        // Also when this future is dropped before the link has ended.
        let here = Here {
            remote: self,
            outbox: &outbox,
        };
        let reason = drive(&mut socket, &outbox, Side::Answered, &cancel, |packet| {
            self.take_from_agent(&outbox, packet)
        })
        .await;
        drop(here);
        SessionEnd::new(reason, began.elapsed())
    }

    /// Takes the place of an earlier connection; false when this one is the earlier.
    fn connect(&self, outbox: &Arc<Outbox>, presence: Presence) -> bool {
        let mut state = lock(&self.inner.state);
        if state.agent.is_some()
            && self
                .inner
                .channel
                .inner
                .presence
                .borrow()
                .is_later(&presence)
        {
            return false;
        }
        let older = state.agent.replace(Arc::clone(outbox));
        state.heartbeat = None;
        for caller in state.callers.values() {
            caller.push_first(0, presence.to_frame());
        }
        self.inner.channel.inner.linked(outbox, presence);
        drop(state);
        if let Some(older) = older {
            older.close(Closing::new(
                CloseCode::Superseded,
                "a newer connection of this agent has taken this one's place",
            ));
        }
        true
    }

    fn cut(&self, outbox: &Arc<Outbox>) {
        let mut state = lock(&self.inner.state);
        if !state
            .agent
            .as_ref()
            .is_some_and(|now| Arc::ptr_eq(now, outbox))
        {
            return;
        }
        state.agent = None;
        let presence = Presence {
            connected: false,
            last_seen: Some(SystemTime::now()),
            ..self.inner.channel.inner.presence.borrow().clone()
        };
        for caller in state.callers.values() {
            caller.push_first(0, presence.to_frame());
        }
        self.inner.channel.inner.unlinked(Some(presence));
    }

    /// Takes a packet from the agent: for this control plane, or for a caller's link.
    fn take_from_agent(&self, outbox: &Arc<Outbox>, mut packet: RawPacket) -> Result<(), String> {
        let slot = packet.slot;
        let caller = {
            let state = lock(&self.inner.state);
            if !state
                .agent
                .as_ref()
                .is_some_and(|now| Arc::ptr_eq(now, outbox))
            {
                return Ok(());
            }
            if slot == 0 {
                None
            } else {
                match state.callers.get(&slot) {
                    Some(caller) => Some(Arc::clone(caller)),
                    None => return Ok(()),
                }
            }
        };
        if let Some(caller) = caller {
            return relay_all(&caller, packet);
        }
        while let Some(frame) = packet.next_frame().map_err(|error| error.to_string())? {
            if frame.stream != 0 {
                self.inner.channel.inner.receive(frame)?;
            } else if let Some(Kind::Heartbeat(heartbeat)) =
                frame.decode().map_err(|error| error.to_string())?
            {
                lock(&self.inner.state).heartbeat = Some(heartbeat);
            }
        }
        Ok(())
    }

    /// Relays a caller's link to the agent until it ends. `caller` is the authenticated principal.
    pub async fn run_caller(
        &self,
        mut socket: Socket,
        caller: &str,
        cancel: CancellationToken,
    ) -> EndReason {
        let outbox = Arc::new(Outbox::new());
        let slot = self.join(&outbox);
        let _leaves = Leaves { remote: self, slot };
        drive(&mut socket, &outbox, Side::Answered, &cancel, |packet| {
            self.take_from_caller(slot, caller, &outbox, packet)
        })
        .await
    }

    /// Has the agent cancel every call of a principal, those included whose link is gone. Links of
    /// the principal that are still open can make new ones: end them first.
    pub fn revoke_caller(&self, caller: &str) {
        let mut state = lock(&self.inner.state);
        // Of a slot of its own: an agent that does not know `revoked` has nothing to detach there.
        let slot = state.new_slot();
        if let Some(agent) = &state.agent {
            let revoked = caller.to_owned();
            let detach = Kind::Detach(Detach { revoked });
            agent.push_first(slot, OutFrame::new(0, detach));
        }
    }

    fn join(&self, outbox: &Arc<Outbox>) -> u32 {
        let mut state = lock(&self.inner.state);
        let slot = state.new_slot();
        state.callers.insert(slot, Arc::clone(outbox));
        outbox.push_first(0, self.inner.channel.inner.presence.borrow().to_frame());
        slot
    }

    fn take_from_caller(
        &self,
        slot: u32,
        caller: &str,
        outbox: &Arc<Outbox>,
        mut packet: RawPacket,
    ) -> Result<(), String> {
        let agent = lock(&self.inner.state).agent.clone();
        while let Some(frame) = packet.next_frame().map_err(|error| error.to_string())? {
            if frame.stream == 0 {
                continue;
            }
            let Some(agent) = &agent else {
                if frame.kind == COMMAND {
                    refuse(outbox, frame)?;
                }
                continue;
            };
            let (stream, class, place) = (frame.stream, class(&frame), frame.place.clone());
            let frame = if frame.kind == COMMAND {
                stamp(&frame, caller).map_err(|error| error.to_string())?
            } else {
                // What is no frame ends the link of who wrote it, not the agent's.
                frame.decode().map_err(|error| error.to_string())?;
                OutFrame::Relayed(packet.part(place))
            };
            if agent.push_relayed(slot, stream, class, frame).is_err() {
                return Err("more is queued for the agent than its credit allows".to_owned());
            }
        }
        Ok(())
    }
}

impl State {
    fn new_slot(&mut self) -> u32 {
        self.last_slot = self.last_slot.checked_add(1).unwrap_or(1);
        self.last_slot
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("agent", &self.inner.agent)
            .finish_non_exhaustive()
    }
}

/// Takes the agent's link out of the relay.
struct Here<'a> {
    remote: &'a Remote,
    outbox: &'a Arc<Outbox>,
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.outbox.shut();
        self.remote.cut(self.outbox);
    }
}

/// Takes the caller's link out of the relay and tells the agent.
struct Leaves<'a> {
    remote: &'a Remote,
    slot: u32,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.remote.inner.state);
        state.callers.remove(&self.slot);
        if let Some(agent) = &state.agent {
            agent.clear_slot(self.slot);
            let detach = Kind::Detach(Detach::default());
            agent.push_first(self.slot, OutFrame::new(0, detach));
        }
    }
}
