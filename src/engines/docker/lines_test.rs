//! Lines come out whole, however their frames are cut.

use super::*;
use crate::engines::docker::framing::Decoder;
use proptest::prelude::*;

const TIME: &str = "2026-11-24T11:10:29.386061163Z ";
const NANOS: i64 = 1_795_518_629_386_061_163;

fn message(content: &[u8], newline: bool) -> Vec<u8> {
    let mut message = TIME.as_bytes().to_vec();
    message.extend(content);
    if newline {
        message.push(b'\n');
    }
    message
}

fn framed(stream: u8, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![stream, 0, 0, 0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame
}

/// Of a container that was started once.
fn lines(tty: bool, input: &[u8], cut: usize) -> Vec<Line> {
    let runs = Runs {
        last_start: 0,
        now: i64::MAX,
    };
    lines_of(runs, tty, input, cut)
}

fn lines_of(runs: Runs, tty: bool, input: &[u8], cut: usize) -> Vec<Line> {
    let mut decoder = Decoder::new(tty);
    let mut assembler = Assembler::new(tty, runs);
    let mut lines = Vec::new();
    for part in input.chunks(cut) {
        let mut part = Bytes::copy_from_slice(part);
        while let Some(piece) = decoder.next(&mut part).unwrap() {
            assembler.push(piece, &mut |line| lines.push(line));
        }
    }
    assembler.finish(&mut |line| lines.push(line));
    lines
}

fn line(content: &[u8], partial: bool) -> Line {
    Line {
        time: NANOS,
        stderr: false,
        content: Bytes::copy_from_slice(content),
        partial,
    }
}

proptest! {
    #[test]
    fn frames_make_their_lines(
        messages in proptest::collection::vec((prop::bool::ANY, prop::bool::ANY, proptest::collection::vec(0u8..255, 0..60)), 0..20),
        cut in 1usize..200,
    ) {
        let clean = |content: &[u8]| content.iter().map(|b| if *b == b'\n' { b' ' } else { *b }).collect::<Vec<u8>>();
        let input: Vec<u8> = messages
            .iter()
            .flat_map(|(stderr, newline, content)| framed(1 + u8::from(*stderr), &message(&clean(content), *newline)))
            .collect();
        let expected: Vec<Line> = messages
            .iter()
            .map(|(stderr, newline, content)| Line { stderr: *stderr, ..line(&clean(content), !newline) })
            .collect();
        prop_assert_eq!(lines(false, &input, cut), expected);
    }

    #[test]
    fn a_terminal_makes_its_lines(
        contents in proptest::collection::vec(proptest::collection::vec(0u8..255, 0..60), 0..20),
        cut in 1usize..200,
    ) {
        let clean = |content: &[u8]| content.iter().map(|b| if *b == b'\n' { b' ' } else { *b }).collect::<Vec<u8>>();
        let input: Vec<u8> = contents.iter().flat_map(|content| message(&clean(content), true)).collect();
        let expected: Vec<Line> = contents.iter().map(|content| line(&clean(content), false)).collect();
        prop_assert_eq!(lines(true, &input, cut), expected);
    }

    #[test]
    fn any_bytes_end_in_lines_that_hold_them(
        input in proptest::collection::vec(any::<u8>(), 0..300), cut in 1usize..50,
    ) {
        // No time at the front: every byte but the newlines is content.
        let mut input = input;
        input.insert(0, b'x');
        let content: Vec<u8> = lines(true, &input, cut).iter().flat_map(|line| line.content.to_vec()).collect();
        let expected: Vec<u8> = input.iter().copied().filter(|byte| *byte != b'\n').collect();
        prop_assert_eq!(content, expected);
    }
}

#[test]
fn long_lines_come_in_pieces() {
    let whole = vec![b'a'; ENGINE_PIECE];
    // As an engine cuts 40,000 bytes.
    let rest = vec![b'b'; 40_000 - 2 * ENGINE_PIECE];
    for (tty, cut) in [
        (true, 1000),
        (true, 1 << 20),
        (false, 1000),
        (false, 1 << 20),
    ] {
        let mut input = Vec::new();
        for part in [
            message(&whole, false),
            message(&whole, false),
            message(&rest, true),
            message(b"c", true),
        ] {
            if tty {
                input.extend(part);
            } else {
                input.extend(framed(1, &part));
            }
        }
        let expected = [
            line(&whole, true),
            line(&whole, true),
            line(&rest, false),
            line(b"c", false),
        ];
        assert!(lines(tty, &input, cut) == expected, "{tty} {cut}");
    }
}

#[test]
fn nothing_is_kept_without_bound() {
    // A frame of 4 MiB, and a terminal's line of 4 MiB that no time cuts.
    let huge = vec![b'a'; 4 << 20];
    for (tty, most) in [(false, MAX_PIECE * 2), (true, ENGINE_PIECE)] {
        let input = if tty {
            message(&huge, true)
        } else {
            framed(1, &message(&huge, true))
        };
        let lines = lines(tty, &input, 8192);
        assert!(
            lines
                .iter()
                .all(|line| line.content.len() <= most && line.time == NANOS)
        );
        assert_eq!(
            lines.iter().map(|line| line.content.len()).sum::<usize>(),
            huge.len()
        );
        assert!(lines.iter().rev().skip(1).all(|line| line.partial));
        assert!(!lines.last().unwrap().partial);
    }
}

#[test]
fn a_forged_time_is_content() {
    // A container that prints a time gets the engine's time before it all the same.
    let forged = b"1999-01-01T00:00:00.000000000Z hello";
    assert_eq!(
        lines(true, &message(forged, true), 7),
        [line(forged, false)]
    );
    assert_eq!(
        lines(false, &framed(1, &message(forged, true)), 7),
        [line(forged, false)]
    );
}

/// Three runs, of which two ended with a prompt, and the times that may and may not part them.
#[test]
fn a_run_that_ended_without_a_newline_ends_its_line() {
    let second = |n: i64| NANOS + n * 1_000_000_000;
    let text = |n: i64| format!("2026-11-24T11:10:{}.386061163Z ", 29 + n);
    let input = [
        &text(0),
        "one $ ",
        &text(1),
        "early ",
        &text(0),
        "late ",
        &text(9),
        "\r\n",
        &text(2),
        "$ ",
        &text(3),
        "last ",
        &text(4),
        "\n",
    ]
    .concat();
    let runs = Runs {
        last_start: second(3),
        now: second(5),
    };
    let line = |n, content: String, partial| Line {
        time: second(n),
        stderr: false,
        content: Bytes::from(content),
        partial,
    };
    let expected = [
        line(0, "one $ ".to_owned(), true),
        // Times from before the line, and from the future, are content.
        line(1, format!("early {}late {}\r", text(0), text(9)), false),
        line(2, "$ ".to_owned(), true),
        // The run that goes on has no next one.
        line(3, format!("last {}", text(4)), false),
    ];
    for cut in [1, 7, 31, 1000] {
        assert_eq!(
            lines_of(runs, true, input.as_bytes(), cut),
            expected,
            "{cut}"
        );
    }
    let once = Runs {
        last_start: second(0),
        ..runs
    };
    assert_eq!(lines_of(once, true, input.as_bytes(), 1000).len(), 2);
}
