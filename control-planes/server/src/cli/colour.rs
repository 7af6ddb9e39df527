//! Colours, on terminals only and never with `NO_COLOR`.

use std::io::{IsTerminal as _, stderr, stdout};

/// What a text says by its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Plain,
    Good,
    Bad,
    Faint,
    Head,
}

impl Colour {
    /// Wraps the text, when `on`.
    pub(crate) fn paint(self, text: &str, on: bool) -> String {
        let code = match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Faint => "2",
            Self::Head => "1",
            Self::Plain => "",
        };
        if on && !code.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Wraps a name in a colour that goes with its number, when `on`.
pub(crate) fn numbered(text: &str, number: u32, on: bool) -> String {
    const CODES: [&str; 6] = ["36", "33", "35", "34", "32", "96"];
    let code = CODES.iter().cycle().nth(number as usize % CODES.len());
    match code {
        Some(code) if on => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        _ => text.to_owned(),
    }
}

/// Whether standard output shows colours.
pub(crate) fn on_stdout() -> bool {
    stdout().is_terminal() && wanted()
}

/// Whether standard error shows colours.
pub(crate) fn on_stderr() -> bool {
    stderr().is_terminal() && wanted()
}

#[expect(
    clippy::disallowed_methods,
    reason = "NO_COLOR is no setting of a command: no flag stands for it"
)]
fn wanted() -> bool {
    let is = |name, value: &str| std::env::var_os(name).is_some_and(|found| found == value);
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && !is("TERM", "dumb")
}
