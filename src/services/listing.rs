//! Pages of lists that are ordered by name.
//!
//! A token is the last name of its page: what is made or removed meanwhile neither repeats nor hides others.

use prost::Message;
use tonic::Status;

use super::error;

const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: usize = 1000;
/// Bytes of a page, at most; one thing alone may be longer, and still fits into a message.
const MAX_BYTES: usize = 2 << 20;

/// The size of a page.
pub(super) fn size(asked: u32) -> Result<usize, Status> {
    match asked as usize {
        0 => Ok(DEFAULT_SIZE),
        size if size <= MAX_SIZE => Ok(size),
        _ => Err(error::invalid(
            "page_size",
            &asked.to_string(),
            "give at most 1000",
        )),
    }
}

/// How many of these fit into a page of at most so many.
pub(super) fn fitting(lengths: impl Iterator<Item = usize>, size: usize) -> usize {
    let mut bytes = 0;
    let fits = |length: &usize| {
        let first = bytes == 0;
        bytes += length + 8;
        first || bytes <= MAX_BYTES
    };
    lengths.take(size).take_while(fits).count()
}

/// One page after a token, and the token of the next one. What the key says must differ between all of them.
pub(super) fn page<T: Message>(
    mut things: Vec<T>,
    key: impl Fn(&T) -> String,
    after: &str,
    size: usize,
) -> (Vec<T>, String) {
    things.retain(|thing| after.is_empty() || key(thing).as_str() > after);
    things.sort_by_cached_key(&key);
    let fit = fitting(things.iter().map(Message::encoded_len), size);
    let more = things.len() > fit;
    things.truncate(fit);
    let token = things.last().filter(|_| more).map(&key).unwrap_or_default();
    (things, token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Volume;

    fn volume(name: String, driver: usize) -> Volume {
        Volume {
            name,
            driver: "d".repeat(driver),
            ..Volume::default()
        }
    }

    #[test]
    fn pages_end_by_number_and_by_bytes_and_lose_nothing() {
        for (length, size, pages) in [(1, 10, 3), (1 << 19, 10, 9), (3 << 20, 10, 25)] {
            let all: Vec<_> = (0..25)
                .map(|n| volume(format!("v{n:02}"), length))
                .collect();
            let (mut token, mut seen, mut count) = (String::new(), Vec::new(), 0);
            loop {
                let (page, next) = page(all.clone(), |volume| volume.name.clone(), &token, size);
                assert!(!page.is_empty());
                seen.extend(page.into_iter().map(|volume| volume.name));
                count += 1;
                token = next;
                if token.is_empty() {
                    break;
                }
            }
            let expected: Vec<_> = all.iter().map(|volume| volume.name.clone()).collect();
            assert_eq!((seen, count), (expected, pages));
        }
    }
}
