//! What a relay does to packets: names the caller in its commands, keeps frames together that came together, and
//! refuses calls to an agent that is away. Nothing is decoded that need not be.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{
    WireType, decode_key, encode_key, encode_varint, encoded_len_varint, key_len,
};

use crate::{
    MAX_BODY_FRAME,
    frames::{
        COMMAND, FRAMES, LOG, Malformed, OutFrame, RawFrame, RawPacket, STREAM, skip,
        take_delimited,
    },
    outbox::{Outbox, overloaded},
    proto::{CallClass, Reset, ResetCode, frame::Kind},
};

/// The tag of `Command.caller`.
const CALLER: u32 = 11;
/// Frames of one call that are relayed as one piece, at most: what the reference puts into a packet.
const RUN: usize = 2 * MAX_BODY_FRAME + 4096;

pub(super) fn class(frame: &RawFrame) -> CallClass {
    if frame.kind == LOG {
        CallClass::Bulk
    } else {
        CallClass::Interactive
    }
}

/// Relays an agent's packet to the caller whose it is. Frames of one call that stand side by side stay together.
pub(super) fn relay_all(caller: &Outbox, mut packet: RawPacket) -> Result<(), String> {
    let mut run: Option<(u32, CallClass, Range<usize>)> = None;
    loop {
        let frame = packet.next_frame().map_err(|error| error.to_string())?;
        match (&mut run, &frame) {
            (Some((stream, of, place)), Some(frame))
                if *stream == frame.stream
                    && *of == class(frame)
                    && place.end == frame.place.start
                    && frame.place.end - place.start <= RUN =>
            {
                place.end = frame.place.end;
                continue;
            }
            _ => {}
        }
        if let Some((stream, class, place)) = run.take()
            && caller
                .push_relayed(0, stream, class, OutFrame::Relayed(packet.part(place)))
                .is_err()
        {
            caller.close(overloaded());
        }
        match frame {
            Some(frame) if frame.stream == 0 => {}
            Some(frame) => run = Some((frame.stream, class(&frame), frame.place)),
            None => return Ok(()),
        }
    }
}

/// Names the authenticated caller in a command. Of a field that is there twice the last one counts, so the name
/// goes behind what came; that must be whole fields, or the name could become the end of one of them.
pub(super) fn stamp(frame: &RawFrame, caller: &str) -> Result<OutFrame, Malformed> {
    let command = command(frame.bytes.clone())?;
    let mut fields = command.clone();
    while fields.has_remaining() {
        let (_, wire) = decode_key(&mut fields)?;
        skip(wire, &mut fields)?;
    }
    let named = delimited_len(CALLER, caller.len());
    let inner = command.len() + named;
    let outer =
        key_len(STREAM) + encoded_len_varint(frame.stream.into()) + delimited_len(COMMAND, inner);
    let mut bytes = BytesMut::with_capacity(delimited_len(FRAMES, outer));
    begin(FRAMES, outer, &mut bytes);
    encode_key(STREAM, WireType::Varint, &mut bytes);
    encode_varint(frame.stream.into(), &mut bytes);
    begin(COMMAND, inner, &mut bytes);
    bytes.put_slice(&command);
    begin(CALLER, caller.len(), &mut bytes);
    bytes.put_slice(caller.as_bytes());
    Ok(OutFrame::Relayed(bytes.freeze()))
}

/// The command in a frame that is one.
fn command(mut frame: Bytes) -> Result<Bytes, Malformed> {
    let mut found = Err(Malformed);
    while frame.has_remaining() {
        match decode_key(&mut frame)? {
            (COMMAND, WireType::LengthDelimited) => found = Ok(take_delimited(&mut frame)?),
            (_, wire) => skip(wire, &mut frame)?,
        }
    }
    found
}

fn begin(tag: u32, length: usize, bytes: &mut BytesMut) {
    encode_key(tag, WireType::LengthDelimited, bytes);
    encode_varint(length as u64, bytes);
}

fn delimited_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

/// The agent is away: a new call is refused, one that runs waits for the next presence.
pub(super) fn refuse(outbox: &Outbox, frame: RawFrame) -> Result<(), String> {
    let stream = frame.stream;
    if let Some(Kind::Command(command)) = frame.decode().map_err(|error| error.to_string())?
        && !command.again
    {
        let reset = Reset {
            code: ResetCode::Refused.into(),
            message: "the agent is not connected".to_owned(),
            call_id: Bytes::new(),
        };
        outbox.push_first(0, OutFrame::new(stream, Kind::Reset(reset)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::proto::{Command, Frame, Packet};

    /// What an agent reads when this came from a caller named `me`.
    fn relayed(command: &[u8]) -> Option<Command> {
        let mut frame = BytesMut::new();
        encode_key(STREAM, WireType::Varint, &mut frame);
        encode_varint(7, &mut frame);
        begin(COMMAND, command.len(), &mut frame);
        frame.put_slice(command);
        let mut packet = BytesMut::new();
        begin(FRAMES, frame.len(), &mut packet);
        packet.put_slice(&frame);
        let mut packet = RawPacket::parse(packet.freeze()).unwrap();
        let frame = packet.next_frame().unwrap().unwrap();
        let stamped = stamp(&frame, "me").ok()?;
        let packet = crate::frames::encode(9, &[stamped]);
        let packet = Packet::decode(packet).ok()?;
        let [
            Frame {
                stream: 7,
                kind: Some(Kind::Command(command)),
            },
        ] = &packet.frames[..]
        else {
            panic!("{packet:?}");
        };
        Some(command.clone())
    }

    #[test]
    fn a_command_keeps_everything_but_the_caller() {
        let claimed = Command {
            path: "/a.B/C".into(),
            body: vec![0; 70_000].into(),
            caller: "root".into(),
            no_side_effects: true,
            ..Command::default()
        };
        let arrived = relayed(&claimed.encode_to_vec()).unwrap();
        let caller = "me".into();
        assert_eq!(arrived, Command { caller, ..claimed });
    }

    #[test]
    fn a_field_that_waits_for_more_does_not_swallow_the_caller() {
        let claimed = Command {
            caller: "root".into(),
            ..Command::default()
        };
        // A body of 4 bytes that are not there: as many as the caller's field has.
        let mut bytes = claimed.encode_to_vec();
        bytes.extend([0x32, 4]);
        assert_eq!(relayed(&bytes), None);
    }

    proptest! {
        /// Whatever a caller writes: an agent that reads a command reads the caller's own name.
        #[test]
        fn nobody_is_taken_for_another(
            before in prop::collection::vec(any::<u8>(), 0..40),
            after in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let claimed = Command { caller: "root".into(), ..Command::default() };
            let bytes = [before, claimed.encode_to_vec(), after].concat();
            if let Some(command) = relayed(&bytes) {
                prop_assert_eq!(command.caller, "me");
            }
        }
    }
}
