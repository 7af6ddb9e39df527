//! Packets as bytes: taken apart without decoding their frames, and put together again.
//!
//! A relay needs no more of a frame than its stream and its kind, so frames stay the bytes that they
//! were; only an end of a call decodes them.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::{
    Message,
    encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint},
};

use crate::proto::{Frame, Header, frame::Kind};

const SLOT: u32 = 1;
pub(crate) const FRAMES: u32 = 2;
pub(crate) const STREAM: u32 = 1;
const FIRST_KIND: u32 = 2;
const LAST_KIND: u32 = 15;

/// The tag of `Frame.command`.
pub(crate) const COMMAND: u32 = 8;
/// The tag of `Frame.log`.
pub(crate) const LOG: u32 = 11;

/// Bytes that are not a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is not a packet of frames")]
pub(crate) struct Malformed;

impl From<prost::DecodeError> for Malformed {
    fn from(_: prost::DecodeError) -> Self {
        Self
    }
}

/// A packet whose frames are still bytes.
#[derive(Debug)]
pub(crate) struct RawPacket {
    pub(crate) slot: u32,
    whole: Bytes,
    rest: Bytes,
}

impl RawPacket {
    /// Reads the slot, which senders put first; the frames follow by [`RawPacket::next_frame`].
    pub(crate) fn parse(bytes: Bytes) -> Result<Self, Malformed> {
        let mut packet = Self {
            slot: 0,
            whole: bytes.clone(),
            rest: bytes,
        };
        let mut ahead = packet.rest.clone();
        if ahead.has_remaining() && decode_key(&mut ahead)? == (SLOT, WireType::Varint) {
            packet.slot = u32::try_from(decode_varint(&mut ahead)?).map_err(|_| Malformed)?;
            packet.rest = ahead;
        }
        Ok(packet)
    }

    /// Returns the next frame.
    pub(crate) fn next_frame(&mut self) -> Result<Option<RawFrame>, Malformed> {
        while self.rest.has_remaining() {
            let start = self.position();
            let (tag, wire) = decode_key(&mut self.rest)?;
            if tag == FRAMES && wire == WireType::LengthDelimited {
                let mut frame = RawFrame::parse(take_delimited(&mut self.rest)?, self.whole.len())?;
                frame.place = start..self.position();
                return Ok(Some(frame));
            }
            if tag == SLOT {
                return Err(Malformed);
            }
            skip(wire, &mut self.rest)?;
        }
        Ok(None)
    }
}

impl RawPacket {
    fn position(&self) -> usize {
        self.whole.len() - self.rest.len()
    }

    /// The bytes of this part of the packet, as they came.
    pub(crate) fn part(&self, place: Range<usize>) -> Bytes {
        self.whole.slice(place)
    }
}

/// A frame that is still bytes.
#[derive(Clone, Debug)]
pub(crate) struct RawFrame {
    /// Where in its packet it stands, tag and length included.
    pub(crate) place: Range<usize>,
    pub(crate) stream: u32,
    /// The tag of the frame's kind; 0 when this version does not know it.
    pub(crate) kind: u32,
    pub(crate) bytes: Bytes,
    /// The size of the whole packet, which every slice of it keeps in memory.
    packet: usize,
}

impl RawFrame {
    fn parse(bytes: Bytes, packet: usize) -> Result<Self, Malformed> {
        let mut frame = Self {
            place: 0..0,
            stream: 0,
            kind: 0,
            bytes: bytes.clone(),
            packet,
        };
        let mut rest = bytes;
        while rest.has_remaining() {
            match decode_key(&mut rest)? {
                (STREAM, WireType::Varint) => {
                    frame.stream =
                        u32::try_from(decode_varint(&mut rest)?).map_err(|_| Malformed)?;
                }
                (tag @ FIRST_KIND..=LAST_KIND, WireType::LengthDelimited) => {
                    frame.kind = tag;
                    take_delimited(&mut rest)?;
                }
                (_, wire) => skip(wire, &mut rest)?,
            }
        }
        Ok(frame)
    }

    /// Decodes the frame. `None` when its kind is unknown.
    pub(crate) fn decode(self) -> Result<Option<Kind>, Malformed> {
        let mut kind = Frame::decode(self.bytes)?.kind;
        if self.packet > PINNING
            && let Some(kind) = &mut kind
        {
            unpin(kind, self.packet);
        }
        Ok(kind)
    }
}

/// Packets of this size may be kept in memory by whatever little is taken out of them.
const PINNING: usize = 4 * 1024;

/// Copies what is to be kept out of a packet that consists of other things for the most part.
fn unpin(kind: &mut Kind, packet: usize) {
    let (body, headers): (Option<&mut Bytes>, Vec<&mut Header>) = match kind {
        Kind::Command(command) => (
            Some(&mut command.body),
            command.headers.iter_mut().collect(),
        ),
        Kind::Data(data) => (Some(&mut data.body), Vec::new()),
        Kind::Log(log) => (Some(&mut log.body), Vec::new()),
        Kind::Response(response) => (
            Some(&mut response.body),
            response
                .headers
                .iter_mut()
                .chain(&mut response.trailers)
                .collect(),
        ),
        _ => (None, Vec::new()),
    };
    let small = |bytes: &Bytes| bytes.len() * 16 < packet;
    for bytes in body
        .into_iter()
        .chain(headers.into_iter().map(|header| &mut header.value))
    {
        if !bytes.is_empty() && small(bytes) {
            *bytes = Bytes::copy_from_slice(bytes);
        }
    }
}

pub(crate) fn take_delimited(buf: &mut Bytes) -> Result<Bytes, Malformed> {
    let len = decode_varint(buf)?;
    if len > buf.remaining() as u64 {
        return Err(Malformed);
    }
    Ok(buf.split_to(len as usize))
}

pub(crate) fn skip(wire: WireType, buf: &mut Bytes) -> Result<(), Malformed> {
    let len = match wire {
        WireType::Varint => {
            decode_varint(buf)?;
            return Ok(());
        }
        WireType::LengthDelimited => {
            take_delimited(buf)?;
            return Ok(());
        }
        WireType::ThirtyTwoBit => 4,
        WireType::SixtyFourBit => 8,
        WireType::StartGroup | WireType::EndGroup => return Err(Malformed),
    };
    if buf.remaining() < len {
        return Err(Malformed);
    }
    buf.advance(len);
    Ok(())
}

/// A frame on its way out: made here, or some of one call relayed as they came, each with its tag and
/// length.
#[derive(Clone, Debug)]
pub(crate) enum OutFrame {
    Made(Box<Frame>),
    Relayed(Bytes),
}

impl OutFrame {
    pub(crate) fn new(stream: u32, kind: Kind) -> Self {
        Self::Made(Box::new(Frame {
            stream,
            kind: Some(kind),
        }))
    }

    pub(crate) fn encoded_len(&self) -> usize {
        match self {
            Self::Made(frame) => frame.encoded_len(),
            Self::Relayed(bytes) => bytes.len(),
        }
    }

    /// Whether this tells of a call for the first time.
    pub(crate) fn opens_a_call(&self) -> bool {
        match self {
            Self::Made(frame) => {
                matches!(&frame.kind, Some(Kind::Command(command)) if !command.again)
            }
            Self::Relayed(_) => false,
        }
    }
}

/// Encodes a packet. What is relayed alone is not even copied.
pub(crate) fn encode(slot: u32, frames: &[OutFrame]) -> Bytes {
    if let (0, [OutFrame::Relayed(bytes)]) = (slot, frames) {
        return bytes.clone();
    }
    let room: usize = frames.iter().map(|frame| frame.encoded_len() + 6).sum();
    let mut buf = BytesMut::with_capacity(room + 6);
    if slot != 0 {
        encode_key(SLOT, WireType::Varint, &mut buf);
        encode_varint(u64::from(slot), &mut buf);
    }
    for frame in frames {
        match frame {
            OutFrame::Made(frame) => {
                encode_key(FRAMES, WireType::LengthDelimited, &mut buf);
                encode_varint(frame.encoded_len() as u64, &mut buf);
                frame.encode_raw(&mut buf);
            }
            OutFrame::Relayed(bytes) => buf.put_slice(bytes),
        }
    }
    buf.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::{Log, Packet};

    fn log(stream: u32, body: &'static [u8]) -> OutFrame {
        let body = Bytes::from_static(body);
        OutFrame::new(stream, Kind::Log(Log { offset: 9, body }))
    }

    #[test]
    fn a_packet_is_what_protobuf_says_it_is() {
        let bytes = encode(300, &[log(1, b"a"), log(2, b"bc")]);
        let packet = Packet::decode(bytes.clone()).unwrap();
        assert_eq!(packet.slot, 300);
        assert_eq!(packet.frames.len(), 2);
        assert_eq!(packet.encode_to_vec(), bytes);
    }

    #[test]
    fn a_relayed_frame_stays_as_it_was() {
        let mut packet = RawPacket::parse(encode(5, &[log(7, b"x")])).unwrap();
        assert_eq!(packet.slot, 5);
        let frame = packet.next_frame().unwrap().unwrap();
        assert_eq!((frame.stream, frame.kind), (7, LOG));
        assert!(packet.next_frame().unwrap().is_none());
        let framed = packet.part(frame.place);
        let again = encode(6, &[OutFrame::Relayed(framed)]);
        assert_eq!(again, encode(6, &[log(7, b"x")]));
    }

    #[test]
    fn a_length_that_lies_is_told() {
        let mut packet = RawPacket::parse(Bytes::from_static(&[0x12, 0x7f, 0x08])).unwrap();
        assert_eq!(packet.next_frame().unwrap_err(), Malformed);
    }

    #[test]
    fn a_little_of_a_packet_does_not_keep_the_packet() {
        let log = |stream, size| {
            let body = Bytes::from(vec![stream as u8; size]);
            OutFrame::new(stream, Kind::Log(Log { offset: 0, body }))
        };
        let bytes = encode(0, &[log(1, 60_000), log(2, 10)]);
        let range = bytes.as_ptr_range();
        let mut packet = RawPacket::parse(bytes.clone()).unwrap();
        let mut is_slice = || match packet.next_frame().unwrap().unwrap().decode() {
            Ok(Some(Kind::Log(log))) => range.contains(&log.body.as_ptr()),
            other => panic!("{other:?}"),
        };
        assert!(is_slice());
        assert!(!is_slice());
    }

    proptest! {
        /// Whatever comes from outside is refused or read, without a panic, and what both readers
        /// accept they read alike.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let Ok(mut packet) = RawPacket::parse(bytes.clone()) else { return Ok(()) };
            let mut frames = Vec::new();
            loop {
                match packet.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(Malformed) => return Ok(()),
                }
            }
            if let Ok(decoded) = Packet::decode(bytes) {
                prop_assert_eq!(decoded.frames.len(), frames.len());
                for (raw, frame) in frames.into_iter().zip(decoded.frames) {
                    prop_assert_eq!(raw.stream, frame.stream);
                }
            }
        }
    }
}
