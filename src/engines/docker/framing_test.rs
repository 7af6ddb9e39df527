//! Frames come out whole, however the input is cut.

use super::*;
use proptest::prelude::*;

fn frame(stream: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![stream, 0, 0, 0];
    frame.extend((content.len() as u32).to_be_bytes());
    frame.extend(content);
    frame
}

/// Decodes cut input and joins the pieces of each message.
fn decode(input: &[u8], cuts: &[usize]) -> Result<Vec<(Source, Vec<u8>)>, FramingError> {
    let mut decoder = Decoder::new(false);
    let mut messages = Vec::new();
    let mut current: Option<(Source, Vec<u8>)> = None;
    let mut at = 0;
    let mut cuts = cuts.iter().cycle();
    while at < input.len() {
        let next = (at + cuts.next().unwrap()).min(input.len());
        let mut part = Bytes::copy_from_slice(&input[at..next]);
        at = next;
        while let Some(piece) = decoder.next(&mut part)? {
            let message = current.get_or_insert((piece.source, Vec::new()));
            assert_eq!(message.0, piece.source);
            message.1.extend(&piece.bytes);
            if piece.ends {
                messages.extend(current.take());
            }
        }
        assert!(part.is_empty());
    }
    decoder.finish()?;
    Ok(messages)
}

proptest! {
    #[test]
    fn frames_survive_any_cut(
        messages in proptest::collection::vec((1u8..=3, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
        cuts in proptest::collection::vec(1usize..30, 1..10),
    ) {
        let input: Vec<u8> = messages.iter().flat_map(|(stream, content)| frame(*stream, content)).collect();
        let expected: Vec<_> = messages
            .iter()
            .map(|(stream, content)| {
                let source = [Source::Stdout, Source::Stderr, Source::Engine][usize::from(*stream) - 1];
                (source, content.clone())
            })
            .collect();
        prop_assert_eq!(decode(&input, &cuts).unwrap(), expected);
    }

    #[test]
    fn any_bytes_end_in_an_answer(input in proptest::collection::vec(any::<u8>(), 0..200), cut in 1usize..20) {
        let _ = decode(&input, &[cut]);
    }

    #[test]
    fn a_terminal_changes_nothing(input in proptest::collection::vec(any::<u8>(), 1..100)) {
        let mut decoder = Decoder::new(true);
        let mut bytes = Bytes::from(input.clone());
        let piece = decoder.next(&mut bytes).unwrap().unwrap();
        prop_assert_eq!(&piece.bytes[..], &input[..]);
        prop_assert_eq!(piece.source, Source::Stdout);
        prop_assert!(decoder.next(&mut bytes).unwrap().is_none());
    }
}

#[test]
fn lies_are_errors() {
    let hostile = [1, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff];
    assert_eq!(
        decode(&hostile, &[3]),
        Err(FramingError::Length(0x7fff_ffff))
    );
    assert!(matches!(
        decode(b"GET / HTTP/1.1\r\n", &[16]),
        Err(FramingError::Header(_))
    ));
    assert!(matches!(
        decode(&[4, 0, 0, 0, 0, 0, 0, 0], &[8]),
        Err(FramingError::Header(_))
    ));
    assert!(matches!(
        decode(&[1, 0, 1, 0, 0, 0, 0, 0], &[8]),
        Err(FramingError::Header(_))
    ));
}

#[test]
fn an_end_within_a_frame_is_seen() {
    let whole = frame(1, b"abc");
    for cut in 1..whole.len() {
        assert_eq!(
            decode(&whole[..cut], &[100]),
            Err(FramingError::Cut),
            "{cut}"
        );
    }
    assert_eq!(decode(&[], &[1]), Ok(Vec::new()));
}
