//! One link's view of the calls: which stream is which call, and what each frame does to it.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use http::{Request, Uri};

use super::{
    Caller, Inner, answer,
    call::{Call, Key, Place},
    table::{Inserted, Known, Table},
};
use crate::{
    flow::{RecvBody, Violation},
    frames::{OutFrame, RawPacket},
    headers,
    outbox::Outbox,
    proto::{CallClass, Command, Data, Goodbye, Reset, ResetCode, frame::Kind},
    socket::Instance,
    sync::lock,
};

/// Owns the calls of slot 0 on an agent's link. No principal has this name: names have no control characters.
pub(crate) const CONTROL_PLANE: &str = "\u{0}control-plane";

/// Streams are looked through for dead ones when there are more than this.
const MANY: usize = 1024;

/// Takes the frames of one link. When it is dropped, its calls are detached.
pub(crate) struct Attachments {
    inner: Arc<Inner>,
    outbox: Arc<Outbox>,
    /// The one principal of the link; on an agent's link each command names its own.
    caller: Option<Arc<str>>,
    instance: Option<Instance>,
    streams: HashMap<(u32, u32), Weak<Call>>,
}

impl Attachments {
    pub(crate) fn new(inner: Arc<Inner>, outbox: Arc<Outbox>, caller: Option<Arc<str>>) -> Self {
        Self {
            inner,
            outbox,
            caller,
            instance: None,
            streams: HashMap::new(),
        }
    }

    /// Calls meant for another instance than this one are not started.
    pub(crate) fn expect_instance(&mut self, instance: Instance) {
        self.instance = Some(instance);
    }

    /// Takes a packet's frames. A goodbye is handed back.
    pub(crate) fn receive(&mut self, mut packet: RawPacket) -> Result<Option<Goodbye>, String> {
        let slot = packet.slot;
        let mut goodbye = None;
        while let Some(raw) = packet.next_frame().map_err(|error| error.to_string())? {
            let stream = raw.stream;
            let kind = match raw.decode() {
                Ok(Some(kind)) => kind,
                Ok(None) => continue,
                // The relay in between is not to blame for what a caller wrote.
                Err(error) if slot != 0 && stream != 0 => {
                    self.refuse(slot, stream, ResetCode::Protocol, &error.to_string());
                    continue;
                }
                Err(error) => return Err(error.to_string()),
            };
            if stream == 0 {
                match kind {
                    Kind::Detach(detach) if detach.revoked.is_empty() => self.detach_slot(slot),
                    // A caller's own link says nothing about others.
                    Kind::Detach(detach) if self.caller.is_none() => {
                        self.inner.table.cancel_owner(&detach.revoked);
                    }
                    Kind::Goodbye(said) => goodbye = Some(said),
                    _ => {}
                }
                continue;
            }
            self.frame(slot, stream, kind);
        }
        Ok(goodbye)
    }

    fn frame(&mut self, slot: u32, stream: u32, kind: Kind) {
        if let Kind::Command(command) = kind {
            if let Err((code, message)) = self.command(slot, stream, command) {
                self.refuse(slot, stream, code, &message);
            }
            return;
        }
        if let Kind::Reset(reset) = &kind
            && let Some(id) = Instance::from_bytes(&reset.call_id)
        {
            self.reset_by_id(slot, id);
            return;
        }
        let Some(call) = self.streams.get(&(slot, stream)).and_then(Weak::upgrade) else {
            return;
        };
        if !lock(&call.state)
            .place
            .as_ref()
            .is_some_and(|place| place.is(&self.outbox, slot, stream))
        {
            return;
        }
        let outcome = match kind {
            Kind::Data(data) => take_data(&call, data),
            Kind::Credit(credit) => call.credit(credit),
            Kind::Done(_) => {
                self.streams.remove(&(slot, stream));
                self.inner.table.remove(&call.key);
                Ok(())
            }
            Kind::Reset(_) => {
                self.outbox.clear_call(slot, stream);
                self.streams.remove(&(slot, stream));
                self.inner.table.remove(&call.key);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(violation) = outcome {
            let code = match violation {
                Violation::PastLimit => ResetCode::FlowControl,
                Violation::Gap | Violation::BadOffset | Violation::NoHead => ResetCode::Protocol,
            };
            self.streams.remove(&(slot, stream));
            self.inner.table.remove(&call.key);
            self.refuse(slot, stream, code, &violation.to_string());
        }
    }

    fn command(
        &mut self,
        slot: u32,
        stream: u32,
        command: Command,
    ) -> Result<(), (ResetCode, String)> {
        let protocol = |message: &str| (ResetCode::Protocol, message.to_owned());
        let id = Instance::from_bytes(&command.call_id)
            .ok_or_else(|| protocol("call_id is not 16 bytes"))?;
        let key = Key {
            owner: self.owner(slot, &command.caller),
            id,
        };
        let place = Place {
            outbox: Arc::clone(&self.outbox),
            slot,
            stream,
        };
        let meant_for_another = self.instance.is_some_and(|instance| {
            !command.instance.is_empty() && command.instance != instance.as_bytes()[..]
        });
        match self.inner.table.look_up(&key, command.again) {
            Known::Never if command.again && (meant_for_another || command.received > 0) => {
                return Err(lost());
            }
            Known::Never => {}
            known => return self.go_on(known, place, command.received, command.limit),
        }
        if meant_for_another {
            let message = "the agent has been restarted; try again".to_owned();
            return Err((ResetCode::Refused, message));
        }
        self.start(key, place, command)
    }

    /// Attaches a call that was told before.
    fn go_on(
        &mut self,
        known: Known,
        place: Place,
        received: u64,
        limit: u64,
    ) -> Result<(), (ResetCode, String)> {
        let Known::Here(call) = known else {
            return Err(lost());
        };
        let (slot, stream) = (place.slot, place.stream);
        call.attach(place, received, limit).map_err(|_| lost())?;
        self.remember(slot, stream, &call);
        Ok(())
    }

    fn start(
        &mut self,
        key: Key,
        place: Place,
        command: Command,
    ) -> Result<(), (ResetCode, String)> {
        let protocol = |message: String| (ResetCode::Protocol, message);
        let class = match command.class() {
            CallClass::Bulk => CallClass::Bulk,
            CallClass::Interactive | CallClass::Unspecified => CallClass::Interactive,
        };
        let path = Bytes::from(command.path);
        let no_side_effects = std::str::from_utf8(&path)
            .is_ok_and(|path| self.inner.methods.get(path).no_side_effects);
        let uri = Uri::from_maybe_shared(path)
            .ok()
            .filter(|uri| uri.path().starts_with('/'))
            .ok_or_else(|| protocol("the path is not /package.Service/Method".to_owned()))?;
        let mut headers =
            headers::from_frame(command.headers).map_err(|error| protocol(error.to_string()))?;
        let mut request = Request::new(());
        std::mem::swap(request.headers_mut(), &mut headers);
        *request.uri_mut() = uri;
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        let caller: Arc<str> = match &self.caller {
            Some(caller) => Arc::clone(caller),
            None => command.caller.into(),
        };
        request.extensions_mut().insert(Caller(caller));

        let settings = &self.inner.settings;
        let mut body = RecvBody::new(settings.first_window, settings.max_window);
        let arrived = body.accept(0, command.body).and_then(|()| {
            if command.end {
                body.complete_at(body.received())
            } else {
                Ok(())
            }
        });
        arrived.map_err(|violation| (ResetCode::FlowControl, violation.to_string()))?;

        let (slot, stream) = (place.slot, place.stream);
        let call = Arc::new(Call::new(
            key,
            class,
            !no_side_effects,
            body,
            command.limit,
            self.inner.table.bounds(),
        ));
        if command.again {
            call.attach(place.clone(), 0, command.limit)
                .map_err(|violation| (ResetCode::Protocol, violation.to_string()))?;
        } else {
            lock(&call.state).place = Some(place.clone());
        }
        match self.inner.table.insert(&call, command.again) {
            Inserted::Yes => {}
            Inserted::Refused => {
                let message = "no further calls are taken for now; try again later".to_owned();
                return Err((ResetCode::Refused, message));
            }
            Inserted::Known(known) => return self.go_on(known, place, 0, command.limit),
        }
        let run = answer::run(Arc::clone(&self.inner), Arc::clone(&call), request);
        call.runs_as(self.inner.tasks.spawn(run).abort_handle());
        self.remember(slot, stream, &call);
        Ok(())
    }

    fn owner(&self, slot: u32, caller: &str) -> Arc<str> {
        match &self.caller {
            Some(caller) => Arc::clone(caller),
            None if slot == 0 => CONTROL_PLANE.into(),
            None => caller.into(),
        }
    }

    fn remember(&mut self, slot: u32, stream: u32, call: &Arc<Call>) {
        if self.streams.len() >= MANY {
            self.streams.retain(|_, call| call.strong_count() > 0);
        }
        self.streams.insert((slot, stream), Arc::downgrade(call));
    }

    fn refuse(&self, slot: u32, stream: u32, code: ResetCode, message: &str) {
        let reset = Reset {
            code: code.into(),
            message: message.to_owned(),
            call_id: Bytes::new(),
        };
        self.outbox
            .reset(slot, stream, OutFrame::new(stream, Kind::Reset(reset)));
    }

    /// A cancel that names its call, because a cut had swallowed the first one. Who knows the id of a
    /// call is its owner: it is 128 random bits.
    fn reset_by_id(&self, slot: u32, id: Instance) {
        self.inner
            .table
            .remove_by_id(id, |owner| match &self.caller {
                Some(caller) => **caller == *owner,
                None => (slot == 0) == (owner == CONTROL_PLANE),
            });
    }

    fn detach_slot(&mut self, slot: u32) {
        let outbox = &self.outbox;
        outbox.clear_slot(slot);
        self.streams.retain(|(at, stream), call| {
            if *at == slot
                && let Some(call) = call.upgrade()
            {
                let mut state = lock(&call.state);
                if state
                    .place
                    .as_ref()
                    .is_some_and(|place| place.is(outbox, *at, *stream))
                {
                    state.detach();
                }
            }
            *at != slot
        });
        Table::sweep_later(&self.inner);
    }
}

impl Drop for Attachments {
    fn drop(&mut self) {
        let slots: std::collections::HashSet<u32> =
            self.streams.keys().map(|(slot, _)| *slot).collect();
        for slot in slots {
            self.detach_slot(slot);
        }
    }
}

fn lost() -> (ResetCode, String) {
    let message = "the call is not known here any more".to_owned();
    (ResetCode::Lost, message)
}

fn take_data(call: &Call, data: Data) -> Result<(), Violation> {
    let mut state = lock(&call.state);
    let end = data.offset.saturating_add(data.body.len() as u64);
    state.request.accept(data.offset, data.body)?;
    if data.end {
        state.request.complete_at(end)?;
    }
    if state.request_over {
        state.request.discard();
        call.grant(&mut state);
    }
    if let Some(reader) = state.reader.take() {
        reader.wake();
    }
    Ok(())
}
