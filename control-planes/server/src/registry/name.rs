//! Names of agents, parsed once at the door.

/// The integrated agent's name; no other agent may take it.
pub const LOCAL: &str = "local";

/// Says how a name must look.
pub const GRAMMAR: &str = "1 to 63 lower-case letters, digits, \".\" and \"-\", beginning and ending with a letter or digit";

/// Whether `name` may name an agent.
pub fn is_agent_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&bytes.len())
        && bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes
            .iter()
            .all(|byte| plain(byte) || matches!(byte, b'.' | b'-'))
}

/// Whether `name` may say what an administrator's token is for.
pub fn is_purpose(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= 100 && !name.chars().any(char::is_control)
}

/// At most `max` characters of text that came from outside, without control characters.
pub fn tame(text: &str, max: usize) -> String {
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(max)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_names_keep_to_the_grammar() {
        for good in ["a", "web-2", "db.example.org", "9", &"x".repeat(63)] {
            assert!(is_agent_name(good), "{good:?}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            ".a",
            "a.",
            "A",
            "a_b",
            "a/b",
            "../x",
            "a?b#c",
            "a b",
            "ä",
            "a\n",
            &"x".repeat(64),
        ] {
            assert!(!is_agent_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn foreign_text_is_tamed() {
        assert_eq!(tame("a\u{1b}[31m\nb", 100), "a [31m b");
        assert_eq!(tame("äöü", 2), "äö");
    }
}
