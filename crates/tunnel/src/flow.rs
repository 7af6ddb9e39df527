//! Flow control of one direction of one call: pure, without clock, lock or I/O.
//!
//! Offsets are absolute positions in the body. The sender keeps every byte until the receiver has
//! credited it, so that the body can go on over another link:
//!
//! ```text
//! sender      base ───── sent ───── end        limit: how far it may send
//!               kept bytes
//! receiver    taken ──── received ──── granted
//!               queued bytes
//! ```

mod recv;
mod send;

pub(crate) use recv::RecvBody;
pub(crate) use send::SendBody;

/// How a peer broke the rules of flow control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// It sent past its limit.
    #[error("the peer sent more than its credit")]
    PastLimit,
    /// Bytes are missing between what it sent and what had arrived.
    #[error("bytes are missing before this frame")]
    Gap,
    /// It credited bytes that were never sent, or asked for bytes that it had credited.
    #[error("the peer named an offset that is out of range")]
    BadOffset,
    /// A part of the answer came before the answer's status and headers.
    #[error("the peer answered without a status")]
    NoHead,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const RTT: Duration = Duration::from_millis(1);

    #[test]
    fn a_message_larger_than_a_window_passes() {
        let mut send = SendBody::new(16);
        let mut recv = RecvBody::new(16, 64);
        send.push(Bytes::from(vec![7; 1000]));
        send.complete();
        let mut got = 0;
        while !send.is_all_sent() || !recv.is_drained() {
            while let Some((offset, piece)) = send.next(10) {
                recv.accept(offset, piece).unwrap();
            }
            if send.is_all_sent() && !recv.is_complete() {
                recv.complete_at(send.sent()).unwrap();
            }
            while let Some(piece) = recv.take() {
                got += piece.len();
            }
            if let Some(limit) = recv.grant(RTT, RTT, |more| more) {
                send.credit(recv.received(), limit).unwrap();
            }
        }
        assert_eq!(got, 1000);
    }

    #[test]
    fn a_window_grows_while_its_consumer_keeps_up() {
        let mut recv = RecvBody::new(256 * 1024, 4 * 1024 * 1024);
        let mut windows = Vec::new();
        let piece = Bytes::from(vec![0; 64 * 1024]);
        // 64 MiB in credits of 128 KiB, each taken in 1 ms of a round trip of 40 ms; then in 10 s.
        for since_last in [Duration::from_millis(1), Duration::from_secs(10)] {
            while recv.received() < 64 * 1024 * 1024 {
                recv.accept(recv.received(), piece.clone()).unwrap();
                recv.take().unwrap();
                recv.grant(since_last, Duration::from_millis(40), |more| more);
            }
            windows.push(recv.window());
            recv = RecvBody::new(256 * 1024, 4 * 1024 * 1024);
        }
        assert_eq!(windows, [4 * 1024 * 1024, 256 * 1024]);
    }

    #[test]
    fn small_pieces_that_wait_are_gathered() {
        let mut recv = RecvBody::new(256 * 1024, 256 * 1024);
        for _ in 0..1000 {
            recv.accept(recv.received(), Bytes::from_static(b"x"))
                .unwrap();
        }
        let pieces: Vec<Bytes> = std::iter::from_fn(|| recv.take()).collect();
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces.concat().len(), 1000);
    }

    #[test]
    fn a_reader_that_stops_costs_its_first_window() {
        let mut send = SendBody::new(256);
        let recv = RecvBody::new(256, 4096);
        send.push(Bytes::from(vec![0; 10_000]));
        let mut sent = 0;
        while let Some((_, piece)) = send.next(100) {
            sent += piece.len();
        }
        assert_eq!(sent, 256);
        assert!(!recv.grant_due());
    }

    #[test]
    fn violations_are_told() {
        let mut recv = RecvBody::new(8, 8);
        assert_eq!(
            recv.accept(1, Bytes::from_static(b"x")),
            Err(Violation::Gap)
        );
        assert_eq!(
            recv.accept(0, Bytes::from_static(b"123456789")),
            Err(Violation::PastLimit)
        );
        assert_eq!(
            recv.accept(u64::MAX, Bytes::from_static(b"12")),
            Err(Violation::BadOffset)
        );
        let mut send = SendBody::new(8);
        send.push(Bytes::from_static(b"abc"));
        assert_eq!(send.credit(4, 9), Err(Violation::BadOffset));
        assert_eq!(send.rewind(4, 9), Err(Violation::BadOffset));
    }

    proptest! {
        /// Whatever is cut and wherever, the receiver ends with exactly the bytes sent.
        #[test]
        fn cuts_lose_and_repeat_nothing(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..30),
            steps in prop::collection::vec((1usize..40, any::<bool>(), any::<bool>()), 1..400),
        ) {
            let all: Vec<u8> = chunks.concat();
            let mut send = SendBody::new(32);
            let mut recv = RecvBody::new(32, 128);
            let mut chunks = chunks.into_iter();
            let mut got = Vec::new();
            // A link that loses every frame for ever delivers nothing: in the end it holds.
            let mut steps = steps.into_iter().chain(std::iter::repeat_n((32, false, false), 20_000));
            while got.len() < all.len() {
                let Some((max, cut, lose)) = steps.next() else { break };
                if send.wants_more() {
                    match chunks.next() {
                        Some(chunk) => send.push(chunk.into()),
                        None => send.complete(),
                    }
                }
                if let Some((offset, piece)) = send.next(max) {
                    if !lose || !cut {
                        recv.accept(offset, piece).unwrap();
                    }
                    if cut {
                        send.rewind(recv.received(), recv.granted()).unwrap();
                    }
                }
                if let Some(piece) = recv.take() {
                    got.extend_from_slice(&piece);
                }
                if let Some(limit) = recv.grant(RTT, RTT, |more| more) {
                    send.credit(recv.received(), limit).unwrap();
                }
                prop_assert!(send.kept() <= 128 + 50 + 50);
            }
            prop_assert_eq!(got, all);
        }
    }
}
