//! Pages of lists: how many, and where the last one ended.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::error::CallError;

const DEFAULT: usize = 100;
const MAX: u32 = 1000;

/// How many entries a page has.
pub(super) fn size(asked: u32) -> usize {
    match asked {
        0 => DEFAULT,
        asked => asked.min(MAX) as usize,
    }
}

/// Makes a token that says after what the next page begins. `list` keeps lists apart.
pub(super) fn token(list: &str, after: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}:{after}"))
}

/// Reads one. An empty token begins at the beginning.
pub(super) fn after(list: &str, token: &str) -> Result<String, CallError> {
    if token.is_empty() {
        return Ok(String::new());
    }
    let text = URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    text.as_deref()
        .and_then(|text| text.strip_prefix(list)?.strip_prefix(':'))
        .map(str::to_owned)
        .ok_or_else(|| CallError::Field {
            field: "page_token",
            mend: "must be the next_page_token of the page before, unchanged".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_another_list_are_refused() {
        let page = token("agents", "web-2");
        assert_eq!(after("agents", &page).expect("own token"), "web-2");
        assert!(after("tokens", &page).is_err());
        assert!(after("agents", "no page token").is_err());
        assert_eq!(after("agents", "").expect("the beginning"), "");
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!((size(0), size(7), size(5000)), (100, 7, 1000));
    }
}
