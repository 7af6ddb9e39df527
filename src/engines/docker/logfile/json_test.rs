//! Records are read as a JSON parser reads them, and what is none harms nobody.

use super::*;
use crate::engines::docker::lines::{Line, MAX_PIECE};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

const TIME: &str = "2026-11-24T11:10:29.386061163Z";
const NANOS: i64 = 1_795_518_629_386_061_163;

/// Everything that is in these bytes, and how much of them was no record.
fn read(bytes: &[u8]) -> (Vec<Line>, usize) {
    let whole = Bytes::copy_from_slice(bytes);
    let (mut clock, mut arena) = (Clock::default(), BytesMut::new());
    let (mut lines, mut damaged, mut at) = (Vec::new(), 0, 0);
    while at < whole.len() {
        match step(&whole[at..], &mut clock) {
            Step::Record(record) => {
                assert!(record.length > 0);
                if record.stderr.is_some() {
                    record.lines(&whole, at, &mut arena, &mut |line| lines.push(line));
                }
                at += record.length;
            }
            Step::Damaged(length) => {
                assert!(length > 0);
                damaged += length;
                at += length;
            }
            Step::Incomplete => break,
        }
    }
    assert!(at <= whole.len());
    (lines, damaged)
}

fn line(content: &[u8], stderr: bool, partial: bool) -> Line {
    Line {
        time: NANOS,
        stderr,
        content: Bytes::copy_from_slice(content),
        partial,
    }
}

/// As an engine writes it: only `log` is escaped, and more than JSON asks for.
fn written(text: &str, stream: &str, attrs: Option<&serde_json::Value>) -> Vec<u8> {
    let mut record = b"{".to_vec();
    if !text.is_empty() {
        let text = serde_json::to_string(text).unwrap();
        let text = text.replace('<', "\\u003c").replace('\u{2028}', "\\u2028");
        record.extend(format!("\"log\":{text},").bytes());
    }
    record.extend(format!("\"stream\":\"{stream}\",").bytes());
    if let Some(attrs) = attrs {
        record.extend(format!("\"attrs\":{attrs},").bytes());
    }
    record.extend(format!("\"time\":\"{TIME}\"}}\n").bytes());
    record
}

proptest! {
    #[test]
    fn any_text_is_read_back(
        text in "(\\PC|[\\x00-\\x1f\"\\\\<>&\u{2028}\u{2029}\u{fffd}😀]){0,60}",
        newline: bool,
        stderr: bool,
        attrs in proptest::option::of("\\PC{0,10}"),
    ) {
        let attrs = attrs.map(|value| json!({"key": value, "{\"log\":\"": [1, {"deep": null}, "]}"]}));
        let stream = if stderr { "stderr" } else { "stdout" };
        let whole = if newline { format!("{text}\n") } else { text.clone() };
        let (lines, damaged) = read(&written(&whole, stream, attrs.as_ref()));
        let text = text.as_bytes();
        // A text that ends with a newline by itself is a whole line.
        let expected = match (newline, text.strip_suffix(b"\n")) {
            (false, Some(text)) => line(text, stderr, false),
            (newline, _) => line(text, stderr, !newline),
        };
        prop_assert_eq!(lines, vec![expected]);
        prop_assert_eq!(damaged, 0);
    }

    /// Every way to write a string in JSON.
    #[test]
    fn strings_are_read_as_a_parser_reads_them(
        parts in proptest::collection::vec("[a-zé😀 /]{1,4}|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}|\\\\ud83d\\\\ude00", 0..12),
    ) {
        let string = format!("\"{}\"", parts.concat());
        // Half a pair is refused there.
        if let Ok(expected) = serde_json::from_str::<String>(&string) {
            let mut text = BytesMut::new();
            unescape(&string.as_bytes()[1..string.len() - 1], &mut text);
            prop_assert_eq!(&text[..], expected.as_bytes());
        }
    }

    /// Any JSON object of these fields, in any order, with spaces.
    #[test]
    fn objects_are_read_as_a_parser_reads_them(
        log in "\\PC{0,20}",
        order in Just(vec![0, 1, 2, 3]).prop_shuffle(),
        space in "[ \\t]{0,2}",
        other in "\\PC{0,20}",
    ) {
        let field = |name: &str, value: &str| {
            format!("{space}\"{name}\"{space}:{space}{}{space}", serde_json::to_string(value).unwrap())
        };
        let fields = [field("log", &log), field("stream", "stdout"), field("time", TIME), field("other", &other)];
        let fields: Vec<_> = order.iter().map(|at| fields[*at].clone()).collect();
        let record = format!("{space}{{{}}}{space}\n", fields.join(","));
        let parsed: serde_json::Value = serde_json::from_str(&record).unwrap();
        let (lines, damaged) = read(record.as_bytes());
        prop_assert_eq!(damaged, 0);
        prop_assert_eq!(&lines[0].content[..], parsed["log"].as_str().unwrap().as_bytes());
    }

    #[test]
    fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes);
    }

    /// Records among rubbish: those that begin a line of their own are found.
    #[test]
    fn records_behind_rubbish_are_found(
        rubbish in proptest::collection::vec(prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            Just(vec![0; 5000]),
            (0usize..80).prop_map(|cut| written("torn by a crash", "stdout", None)[..cut].to_vec()),
        ], 1..8),
    ) {
        let mut file = Vec::new();
        for (n, rubbish) in rubbish.iter().enumerate() {
            file.extend(rubbish);
            file.extend(written(&format!("record {n}\n"), "stdout", None));
        }
        let (lines, _) = read(&file);
        let found: Vec<_> = lines.iter().filter(|line| line.content.starts_with(b"record ")).collect();
        prop_assert_eq!(found.len(), rubbish.len());
    }

    #[test]
    fn a_record_that_is_cut_is_waited_for(cut in 0usize..100) {
        let record = written("hello\n", "stderr", None);
        let cut = cut.min(record.len() - 1);
        prop_assert_eq!(step(&record[..cut], &mut Clock::default()), Step::Incomplete);
    }
}

#[test]
fn times_of_all_lengths_are_read() {
    let mut clock = Clock::default();
    for (text, nanos) in [
        ("2026-11-24T11:10:29.386061163Z", NANOS),
        ("2026-11-24T11:10:29.38606116Z", NANOS - 3),
        ("2026-11-24T11:10:29.1Z", NANOS - 286_061_163),
        ("2026-11-24T11:10:29Z", NANOS - 386_061_163),
        ("2026-11-24T12:10:29.386061163+01:00", NANOS),
        ("2026-11-24T11:10:30.386061163Z", NANOS + 1_000_000_000),
        ("2026-11-24T11:10:29.386061163Z", NANOS),
    ] {
        let quoted = format!("{text}\"}}\n");
        assert_eq!(
            clock.read(quoted.as_bytes()),
            Some((nanos, text.len())),
            "{text}"
        );
    }
    for text in [
        "2026-11-24T11:10:29.Z",
        "2026-11-24T11:10:29.38606116Zx",
        "2026-11-24T11:10:29.386061163",
        "2026-11-24T11:10:29",
        "2026-11-24",
        "",
    ] {
        assert_eq!(clock.read(format!("{text}\"").as_bytes()), None, "{text}");
    }
}

#[test]
fn an_empty_line_and_a_message_of_no_bytes_are_records() {
    assert_eq!(
        read(&written("\n", "stdout", None)).0,
        [line(b"", false, false)]
    );
    assert_eq!(
        read(&written("", "stdout", None)).0,
        [line(b"", false, true)]
    );
    // Of neither stream: the engine gives it to nobody.
    assert_eq!(read(&written("x\n", "console", None)), (vec![], 0));
}

#[test]
fn what_is_too_long_is_bounded() {
    let long = "x".repeat(MAX_PIECE + 10);
    let (lines, _) = read(&written(&format!("{long}\n"), "stdout", None));
    let lengths: Vec<_> = lines
        .iter()
        .map(|line| (line.content.len(), line.partial))
        .collect();
    assert_eq!(lengths, [(MAX_PIECE, true), (10, false)]);
    // Without an end, whole, and a hole, which reads as zeros: what comes behind is read.
    let mut endless = written(&"y".repeat(2 * MAX_RECORD), "stdout", None);
    endless.truncate(2 * MAX_RECORD);
    let whole = written(&"y".repeat(MAX_RECORD), "stdout", None);
    for long in [endless, whole, vec![0; 2 * MAX_RECORD]] {
        let length = long.len();
        let next = written("next\n", "stdout", None);
        let (lines, damaged) = read(&[long, next].concat());
        assert!(lines == [line(b"next", false, false)] && damaged == length);
    }
}

#[test]
fn half_a_surrogate_pair_is_the_replacement_character() {
    for (escaped, expected) in [
        (r"\ud83d\ude00", "😀"),
        (r"\ud83dx", "\u{fffd}x"),
        (r"\ude00", "\u{fffd}"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
        (r"\u00", "\u{fffd}00"),
        (r"\q", r"\q"),
        (r"\", r"\"),
    ] {
        let mut text = BytesMut::new();
        unescape(escaped.as_bytes(), &mut text);
        assert_eq!(text, expected, "{escaped}");
    }
}
