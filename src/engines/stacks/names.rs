//! Names of stacks, services and files, parsed once at the door: what is held here can stand in a path and in
//! an argument list as it is, and is no option there.

use std::{fmt, str::FromStr};

use crate::excerpt::{VALUE, cut};

/// The longest name that is accepted, in bytes.
const LONGEST: usize = 128;
/// Parts of a file's name, at most.
const DEEPEST: usize = 8;

/// Why a name was refused, with the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {what}: {mend}")]
pub struct NameError {
    /// The beginning of what was given.
    pub given: String,
    what: &'static str,
    mend: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $is:path, $what:literal, $mend:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The name as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if $is(text) {
                    return Ok(Self(text.to_owned()));
                }
                Err(NameError {
                    given: cut(text, VALUE).into_owned(),
                    what: $what,
                    mend: $mend,
                })
            }
        }
    };
}

name!(
    /// The name of a stack: compose's rule for projects.
    StackName,
    is_stack,
    "a stack's name",
    "use lower-case letters, digits, \"_\" and \"-\", begin with a letter or a digit, at most 128 characters"
);
name!(
    /// The name of a service of a stack, or of a profile.
    ServiceName,
    is_part,
    "the name of a service or a profile",
    "use letters, digits, \"_\", \".\" and \"-\", begin with a letter or a digit, at most 128 characters"
);
name!(
    /// The name of a file of a stack, relative to the stack's folder.
    FileName,
    is_file,
    "the name of a stack's file",
    "name it relative to the stack's folder, as compose.yaml, .env or conf/web.conf: letters, digits, \"_\", \".\" and \"-\" between the slashes, no \"..\", at most 8 parts of at most 128 characters"
);

fn is_stack(text: &str) -> bool {
    text.len() <= LONGEST
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

fn is_part(text: &str) -> bool {
    is_plain(text) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_file(text: &str) -> bool {
    // A long text is not looked through.
    text.len() <= DEEPEST * (LONGEST + 1)
        && text.split('/').count() <= DEEPEST
        && text
            .split('/')
            .all(|part| is_plain(part) && !part.starts_with('-') && part != "." && part != "..")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that is wrong may panic")]
mod tests {
    use super::*;

    #[test]
    fn names_that_hold_are_taken() {
        for name in ["a", "0", "web-1_x", &"a".repeat(128)] {
            assert_eq!(name.parse::<StackName>().unwrap().as_str(), name);
        }
        for name in ["a", "Web.1", "x_y-z"] {
            assert_eq!(name.parse::<ServiceName>().unwrap().as_str(), name);
        }
        for name in [
            "compose.yaml",
            ".env",
            "conf/web.conf",
            "a/b/c/d/e/f/g/h",
            "...",
            "..a",
        ] {
            assert_eq!(name.parse::<FileName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn nothing_else_is() {
        let long = "a".repeat(129);
        for name in [
            "", "-", "--help", "-f", "_a", "A", "a b", "a.b", "a/b", "../a", "ü", "a\0", "a\n",
            &long,
        ] {
            let refused = name.parse::<StackName>().unwrap_err().to_string();
            assert!(refused.contains("lower-case letters"), "{refused}");
        }
        for name in ["", "-f", "--", "a b", "a/b", ".a", "a\0", &long] {
            name.parse::<ServiceName>().unwrap_err();
        }
        let huge = "a".repeat(1 << 20);
        let deep = "a/".repeat(8) + "a";
        for name in [
            "",
            "/",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a//b",
            "a/",
            "a\0b",
            "a\\b",
            "-f",
            "a/-b",
            "a b",
            "ü",
            "a\n",
            &long,
            &huge,
            &deep,
        ] {
            let refused = name.parse::<FileName>().unwrap_err().to_string();
            assert!(refused.len() < 1000, "{}", refused.len());
        }
    }
}
