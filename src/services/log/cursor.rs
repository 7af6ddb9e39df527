//! Cursors: where each container's log is, as bytes that a caller keeps and gives back.
//!
//! Pure. A version, then for each container the first 8 bytes of its id, the number of anchors, and of each
//! anchor its time (of those after the first: how much older), and its lines of both streams, as varints. No more containers are
//! in it than are merged, so it is bounded; strict when read, so that nothing but a cursor passes.

use std::collections::HashMap;

use tonic::Status;

use crate::{
    engines::docker::{
        merge::{ID_DIGITS, MOST},
        position::{Anchor, Position},
    },
    services::error,
};

const VERSION: u8 = 1;
/// More bytes are no cursor.
const LONGEST: usize = 96 << 10;

/// Writes places, by the containers' ids.
pub(super) fn write<'a>(places: impl Iterator<Item = (&'a str, &'a Position)>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for (id, place) in places {
        let id = id.get(..ID_DIGITS).unwrap_or_default();
        let Ok(id) = u64::from_str_radix(id, 16) else {
            continue;
        };
        bytes.extend_from_slice(&id.to_be_bytes());
        let mut newer = None;
        bytes.push(u8::try_from(place.anchors().len()).unwrap_or_default());
        for anchor in place.anchors() {
            // Times of places are never negative, and fall.
            let time = anchor.time.unsigned_abs();
            varint(
                &mut bytes,
                newer.map_or(time, |newer: u64| newer.saturating_sub(time)),
            );
            varint(&mut bytes, u64::from(anchor.stdout));
            varint(&mut bytes, u64::from(anchor.stderr));
            newer = Some(time);
        }
    }
    bytes
}

/// Reads places, by the first digits of the containers' ids. None when there is no cursor.
pub(super) fn read(bytes: &[u8]) -> Result<Option<HashMap<String, Position>>, Status> {
    if bytes.is_empty() {
        return Ok(None);
    }
    parse(bytes).map(Some).ok_or_else(|| {
        let begin = bytes.get(..16).unwrap_or(bytes);
        let begin: String = begin.iter().map(|byte| format!("{byte:02x}")).collect();
        error::invalid(
            "cursor",
            &begin,
            "this is no cursor of this agent's logs: give that of a batch as it came, or none",
        )
    })
}

fn parse(bytes: &[u8]) -> Option<HashMap<String, Position>> {
    let (version, mut rest) = bytes.split_first()?;
    if *version != VERSION || bytes.len() > LONGEST {
        return None;
    }
    let mut places = HashMap::new();
    while let Some((id, after)) = rest.split_first_chunk::<8>() {
        let (count, after) = after.split_first()?;
        rest = after;
        let mut anchors = Vec::new();
        let mut newer: Option<i64> = None;
        for _ in 0..*count {
            let time = i64::try_from(take_varint(&mut rest)?).ok()?;
            let time = newer.map_or(Some(time), |newer| newer.checked_sub(time))?;
            anchors.push(Anchor {
                time,
                stdout: u32::try_from(take_varint(&mut rest)?).ok()?,
                stderr: u32::try_from(take_varint(&mut rest)?).ok()?,
            });
            newer = Some(time);
        }
        let id = format!("{:0width$x}", u64::from_be_bytes(*id), width = ID_DIGITS);
        let twice = places.insert(id, Position::new(anchors)?).is_some();
        if twice || places.len() > MOST {
            return None;
        }
    }
    rest.is_empty().then_some(places)
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        value |= part
            .checked_shl(place * 7)
            .filter(|set| set >> (place * 7) == part)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(anchors: &[(i64, u32, u32)]) -> Position {
        let anchor = |(time, stdout, stderr): &(i64, u32, u32)| Anchor {
            time: *time,
            stdout: *stdout,
            stderr: *stderr,
        };
        Position::new(anchors.iter().map(anchor).collect()).unwrap()
    }

    fn sample() -> Vec<u8> {
        let now = 1_795_518_629_386_061_163;
        let places = [
            ("00000000000000ff".repeat(4), place(&[(now, 1, 0)])),
            (
                "ffffffffffffffff".repeat(4),
                place(&[(i64::MAX, u32::MAX, 3), (now, 0, 1)]),
            ),
            ("abcdefabcdefabcd".repeat(4), Position::default()),
        ];
        write(places.iter().map(|(id, place)| (id.as_str(), place)))
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = sample();
        let read = read(&bytes).unwrap().unwrap();
        assert_eq!(read.len(), 3);
        assert_eq!(
            read["00000000000000ff"],
            place(&[(1_795_518_629_386_061_163, 1, 0)])
        );
        assert_eq!(read["abcdefabcdefabcd"], Position::default());
        assert_eq!(read["ffffffffffffffff"].anchors().len(), 2);
        assert!(super::read(b"").unwrap().is_none());
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let good = sample();
        let twice = [&good[..], &good[1..]].concat();
        let other_version = [&[2], &good[1..]].concat();
        let trailing = [&good[..], &[1]].concat();
        for wrong in [
            b"x".as_slice(),
            &twice,
            &other_version,
            &trailing,
            &vec![1; LONGEST + 1],
        ] {
            assert_eq!(
                read(wrong).unwrap_err().code(),
                tonic::Code::InvalidArgument
            );
        }
        // Wherever it is cut, it is none, unless a whole number of containers is left.
        let whole = (1..good.len())
            .filter(|end| parse(&good[..*end]).is_some())
            .count();
        assert_eq!(whole, 3);
    }

    #[test]
    fn the_largest_cursor_is_read() {
        let full = place(&[
            (i64::MAX, u32::MAX, u32::MAX),
            (i64::MAX - 1, u32::MAX, u32::MAX),
            (1 << 62, u32::MAX, u32::MAX),
            (1, u32::MAX, u32::MAX),
        ]);
        let ids: Vec<String> = (0..MOST).map(|id| format!("{id:064x}")).collect();
        let ids: Vec<String> = ids.iter().map(|id| id.chars().rev().collect()).collect();
        let bytes = write(ids.iter().map(|id| (id.as_str(), &full)));
        assert_eq!(read(&bytes).unwrap().unwrap().len(), MOST);
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            if let Some(version) = bytes.first_mut() {
                *version = VERSION;
            }
            let _ = read(&bytes);
        }
    }
}
