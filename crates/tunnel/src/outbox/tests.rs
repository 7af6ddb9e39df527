//! In which order frames leave.

use bytes::Bytes;

use super::*;
use crate::proto::{Credit, Data, Done, frame::Kind};

fn data(stream: u32, size: usize) -> OutFrame {
    OutFrame::new(
        stream,
        Kind::Data(Data {
            offset: 0,
            body: Bytes::from(vec![0; size]),
            end: false,
        }),
    )
}

fn streams(outbox: &Outbox) -> Vec<Vec<u32>> {
    let mut packets = Vec::new();
    while let Next::Packet { frames, .. } = outbox.next() {
        packets.push(frames.iter().map(stream).collect());
    }
    packets
}

fn stream(frame: &OutFrame) -> u32 {
    match frame {
        OutFrame::Made(frame) => frame.stream,
        OutFrame::Relayed(_) => 0,
    }
}

#[test]
fn interactive_passes_bulk() {
    let outbox = Outbox::new();
    for _ in 0..4 {
        outbox.push(0, 1, CallClass::Bulk, [data(1, 60_000)]);
    }
    outbox.push(0, 2, CallClass::Interactive, [data(2, 10)]);
    let order = streams(&outbox);
    assert_eq!(order.first().unwrap().first(), Some(&2));
    assert_eq!(order.concat().iter().filter(|s| **s == 1).count(), 4);
}

#[test]
fn calls_of_one_class_take_turns() {
    let outbox = Outbox::new();
    for stream in [1, 2] {
        outbox.push(
            0,
            stream,
            CallClass::Bulk,
            (0..20).map(|_| data(stream, 8_000)),
        );
    }
    let order = streams(&outbox).concat();
    let first_half = order.iter().take(20).filter(|s| **s == 1).count();
    assert!((8..=12).contains(&first_half), "{order:?}");
}

#[test]
fn riders_wait_for_a_packet_of_their_slot() {
    let outbox = Outbox::new();
    outbox.push_rider(3, OutFrame::new(1, Kind::Done(Done {})));
    assert!(matches!(outbox.next(), Next::Nothing));
    outbox.push_first(4, OutFrame::new(9, Kind::Credit(Credit::default())));
    outbox.push_first(3, OutFrame::new(2, Kind::Credit(Credit::default())));
    assert_eq!(streams(&outbox), [vec![9], vec![2, 1]]);
}

#[test]
fn a_call_that_was_never_told_of_needs_no_reset() {
    let outbox = Outbox::new();
    let command = OutFrame::new(1, Kind::Command(Default::default()));
    outbox.push(0, 1, CallClass::Interactive, [command]);
    outbox.reset(0, 1, OutFrame::new(1, Kind::Reset(Default::default())));
    assert!(matches!(outbox.next(), Next::Nothing));
    outbox.push(0, 2, CallClass::Interactive, [data(2, 1)]);
    outbox.reset(0, 2, OutFrame::new(2, Kind::Reset(Default::default())));
    assert_eq!(streams(&outbox), [vec![2]]);
}

#[test]
fn what_is_relayed_is_bounded() {
    let outbox = Outbox::new();
    let frame = OutFrame::Relayed(Bytes::from(vec![0; 1024 * 1024]));
    let pushed = (0..50)
        .take_while(|_| {
            outbox
                .push_relayed(1, 1, CallClass::Bulk, frame.clone())
                .is_ok()
        })
        .count();
    assert_eq!(pushed, 31);
    while let Next::Packet { .. } = outbox.next() {}
    assert_eq!(outbox.push_relayed(1, 1, CallClass::Bulk, frame), Ok(()));
}
