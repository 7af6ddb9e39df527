//! Pages of what has a key: a token is the last key of its page.

use tonic::Status;

use crate::services::error;

const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: usize = 1000;
/// The longest key.
const LONGEST: usize = 512;

/// One page in the order of keys, and the token of the next one.
pub(super) fn cut<T>(
    mut items: Vec<T>,
    key: impl Fn(&T) -> String,
    size: u32,
    token: &str,
) -> Result<(Vec<T>, String), Status> {
    let size = match size as usize {
        0 => DEFAULT_SIZE,
        size if size <= MAX_SIZE => size,
        _ => {
            let given = size.to_string();
            return Err(error::invalid("page_size", &given, "give at most 1000"));
        }
    };
    if token.len() > LONGEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let mend = "give next_page_token of the page before, or nothing for the first page";
        return Err(error::invalid("page_token", token, mend));
    }
    items.sort_by_cached_key(&key);
    items.retain(|item| *key(item) > *token);
    let more = items.len() > size;
    items.truncate(size);
    let token = match items.last() {
        Some(last) if more => key(last),
        _ => String::new(),
    };
    Ok((items, token))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that is wrong may panic")]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let items = || vec!["c", "a", "b", "e", "d"];
        let key = |item: &&str| (*item).to_owned();
        let (first, token) = cut(items(), key, 2, "").unwrap();
        assert_eq!((first, token.as_str()), (vec!["a", "b"], "b"));
        let (second, token) = cut(items(), key, 3, &token).unwrap();
        assert_eq!((second, token.as_str()), (vec!["c", "d", "e"], ""));
        // What is no key any more is a place all the same.
        assert_eq!(
            cut(items(), key, 1, "bb").unwrap(),
            (vec!["c"], "c".to_owned())
        );
        cut(items(), key, 1001, "").unwrap_err();
        cut(items(), key, 1, "a\n").unwrap_err();
        cut(items(), key, 1, &"a".repeat(513)).unwrap_err();
    }
}
