//! Heads and chunks come out the same, however the input is cut.

use super::*;
use proptest::prelude::*;

/// Feeds cut input and joins the content. The flag says whether the end was seen.
fn content(
    delimiter: &mut Delimiter,
    input: &[u8],
    cut: usize,
) -> Result<(Vec<u8>, bool), HttpError> {
    let mut buffer = BytesMut::new();
    let mut content = Vec::new();
    for part in input.chunks(cut) {
        buffer.extend_from_slice(part);
        loop {
            match delimiter.take(&mut buffer)? {
                Content::Bytes(bytes) => content.extend(bytes),
                Content::More => break,
                Content::End => return Ok((content, true)),
            }
        }
    }
    Ok((content, false))
}

fn chunked() -> Delimiter {
    Delimiter::Chunks {
        left: 0,
        state: Chunk::Size,
    }
}

proptest! {
    #[test]
    fn chunks_survive_any_cut(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..10),
        cut in 1usize..40,
        extension in prop::bool::ANY,
    ) {
        let mut input = Vec::new();
        for part in &parts {
            input.extend(format!("{:x}{}\r\n", part.len(), if extension { ";a=b" } else { "" }).bytes());
            input.extend(part);
            input.extend(b"\r\n");
        }
        let mut delimiter = chunked();
        prop_assert_eq!(content(&mut delimiter, &input, cut).unwrap(), (parts.concat(), false));
        prop_assert!(!delimiter.may_end());
        input.extend(b"0\r\nTrailer: x\r\n\r\n");
        let mut delimiter = chunked();
        prop_assert_eq!(content(&mut delimiter, &input, cut).unwrap(), (parts.concat(), true));
        prop_assert!(delimiter.may_end());
    }

    #[test]
    fn any_bytes_end_in_an_answer(input in proptest::collection::vec(any::<u8>(), 0..300), cut in 1usize..50) {
        let _ = content(&mut chunked(), &input, cut);
        let _ = Head::take(&mut BytesMut::from(&input[..]));
    }

    #[test]
    fn heads_survive_any_cut(cut in 1usize..60) {
        let text = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nTransfer-Encoding: chunked\r\n\r\nrest";
        let mut buffer = BytesMut::from(&text[..cut.min(text.len())]);
        let head = loop {
            match Head::take(&mut buffer).unwrap() {
                Some(head) => break head,
                None => {
                    let there = buffer.len();
                    buffer.extend_from_slice(&text[there..there + 1]);
                }
            }
        };
        prop_assert_eq!(head.status, 200);
        prop_assert_eq!(head.headers.len(), 2);
        prop_assert_eq!(Delimiter::of(&head).unwrap(), chunked());
    }
}

#[test]
fn nonsense_is_an_error() {
    for bad in [
        "\r\n",
        "x\r\n",
        "fffffffffffffffff\r\n",
        "1\r\nabc",
        "1\r\na\n\n",
    ] {
        assert!(
            content(&mut chunked(), bad.as_bytes(), 100).is_err(),
            "{bad:?}"
        );
    }
    let endless = [b';'; 100];
    assert!(
        content(
            &mut chunked(),
            &[b"1".to_vec(), endless.repeat(4)].concat(),
            1000
        )
        .is_err()
    );
    for bad in [
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ] {
        assert!(Head::take(&mut BytesMut::from(bad)).is_err(), "{bad:?}");
    }
    assert!(Head::take(&mut BytesMut::from(&vec![b'a'; MAX_HEAD + 1][..])).is_err());
}

#[test]
fn lengths_are_kept() {
    let mut delimiter = Delimiter::Length(5);
    assert!(!delimiter.may_end());
    assert_eq!(
        content(&mut delimiter, b"abcdefgh", 2).unwrap(),
        (b"abcde".to_vec(), true)
    );
    assert!(delimiter.may_end());
}
