//! Records of the `local` driver, whole, cut and wrong.

use super::*;
use proptest::prelude::*;

fn number(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn bytes(field: u8, bytes: &[u8], into: &mut Vec<u8>) {
    into.push(field << 3 | 2);
    number(bytes.len() as u64, into);
    into.extend(bytes);
}

/// Framed with both lengths.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u32).to_be_bytes();
    [&length, message, &length].concat()
}

fn message(stream: &str, time: i64, line: &[u8], partial: Option<bool>) -> Vec<u8> {
    let mut message = Vec::new();
    bytes(1, stream.as_bytes(), &mut message);
    message.push(2 << 3);
    number(time.cast_unsigned(), &mut message);
    if !line.is_empty() {
        bytes(3, line, &mut message);
    }
    if let Some(last) = partial {
        message.extend([4 << 3, 1]);
        let mut inner = Vec::new();
        if last {
            inner.extend([1 << 3, 1]);
        }
        bytes(2, b"0123456789abcdef", &mut inner);
        inner.extend([3 << 3, 1]);
        bytes(5, &inner, &mut message);
    }
    bytes(6, b"\x0a\x01k\x12\x01v", &mut message);
    message
}

/// Whether it is of standard error, its time, its content, and whether it is a part.
type Read = (bool, i64, Vec<u8>, bool);

/// Every record, and how much was none.
fn read(file: &[u8]) -> (Vec<Read>, usize) {
    let (mut records, mut damaged, mut at) = (Vec::new(), 0, 0);
    while at < file.len() {
        match step(&file[at..]) {
            Step::Record(record) => {
                let content = file[at..][record.content].to_vec();
                records.push((
                    record.stderr == Some(true),
                    record.time,
                    content,
                    record.partial,
                ));
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
    assert!(at <= file.len());
    (records, damaged)
}

proptest! {
    #[test]
    fn records_are_read_back(
        records in proptest::collection::vec((
            any::<bool>(),
            any::<i64>(),
            proptest::collection::vec(any::<u8>(), 0..300),
            proptest::option::of(any::<bool>()),
        ), 1..5),
    ) {
        let mut file = Vec::new();
        let mut expected = Vec::new();
        for (stderr, time, line, partial) in records {
            let stream = if stderr { "stderr" } else { "stdout" };
            file.extend(framed(&message(stream, time, &line, partial)));
            expected.push((stderr, time, line, partial == Some(false)));
        }
        prop_assert_eq!(read(&file), (expected, 0));
    }

    #[test]
    fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes);
        read(&framed(&[OPENING, &bytes].concat()));
    }

    /// A record that a crash has cut, or whose lengths lie, takes none of those behind it away.
    #[test]
    fn records_behind_a_wrong_one_are_found(
        cut in 0usize..60,
        lie in proptest::option::of(any::<u32>()),
        zeros in 0usize..100,
    ) {
        let good = framed(&message("stdout", 7, b"good", None));
        let mut wrong = framed(&message("stderr", 5, b"a line that was longer than that", None));
        wrong.truncate(cut.min(wrong.len() - 1));
        if let (Some(lie), Some(place)) = (lie, wrong.first_chunk_mut::<4>()) {
            *place = lie.to_be_bytes();
        }
        wrong.resize(wrong.len() + zeros, 0);
        let mut file = good.clone();
        file.extend(&wrong);
        // So many that a length that lies is found out.
        for _ in 0..30_000 {
            file.extend(&good);
        }
        let (records, damaged) = read(&file);
        prop_assert!(records.iter().filter(|record| record.2 == b"good").count() > 30_000 - 2);
        prop_assert!(damaged <= wrong.len() + 2 * good.len());
    }

    #[test]
    fn a_record_that_is_cut_is_waited_for(cut in 0usize..100) {
        let record = framed(&message("stderr", 5, b"hello", Some(true)));
        let cut = cut.min(record.len() - 1);
        prop_assert_eq!(step(&record[..cut]), Step::Incomplete);
    }
}
