//! Names as they are typed, and text from elsewhere made safe for a terminal.

use std::fmt::Write as _;

/// `AGENT[/CONTAINER]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) agent: String,
    pub(crate) container: Option<String>,
}

/// Parses `AGENT[/CONTAINER]`.
pub(crate) fn place(text: &str) -> Result<Place, String> {
    let (agent, container) = match text.split_once('/') {
        None => (text, None),
        Some((agent, container)) => (agent, Some(container)),
    };
    if agent.is_empty() || container.is_some_and(|name| name.is_empty() || name.contains('/')) {
        return Err("write AGENT or AGENT/CONTAINER, for example local/web".to_owned());
    }
    agent_name(agent)?;
    Ok(Place {
        agent: agent.to_owned(),
        container: container.map(str::to_owned),
    })
}

/// Whether a text may be an agent's name: it becomes a part of a URL.
pub(crate) fn agent_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    let ends = [name.chars().next(), name.chars().next_back()];
    let framed = ends
        .iter()
        .all(|end| end.is_some_and(|c| c.is_ascii_alphanumeric()));
    if !framed || name.len() > 63 || !name.chars().all(fits) {
        return Err(format!(
            "{} is not an agent's name: lower-case letters, digits, \".\" and \"-\", 63 at most",
            safe(name)
        ));
    }
    Ok(())
}

/// Parses `NAME=VALUE`.
pub(crate) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// The text without anything that a terminal would obey.
pub(crate) fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The word as a POSIX shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_an_agent_and_perhaps_a_container() {
        assert_eq!(place("local").unwrap().container, None);
        let web = place("local/web").unwrap();
        assert_eq!(
            (web.agent.as_str(), web.container.as_deref()),
            ("local", Some("web"))
        );
        for wrong in ["", "/", "local/", "/web", "a/b/c", "a?b/c", "a#b", "../x"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn terminals_are_not_told_what_to_do() {
        assert_eq!(safe("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\u{a}c");
        assert_eq!(safe("Grüße 你好"), "Grüße 你好");
        assert_eq!(safe("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn shells_get_words_back() {
        assert_eq!(quoted("http://a:1"), "http://a:1");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
