//! Signals by name or number.

use std::{fmt, str::FromStr};

use crate::excerpt::{VALUE, cut};

/// A signal of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(u8);

/// Why a signal was refused, with the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a signal: write it as \"SIGTERM\", \"TERM\" or \"15\"")]
pub struct SignalError(pub String);

/// Names by number; the index is the number.
const NAMES: [&str; 32] = [
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

impl Signal {
    /// Ends a process at once.
    pub const KILL: Self = Self(9);
    /// Asks a process to end.
    pub const TERM: Self = Self(15);

    /// The number, 1 to 64.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The signal with this number, 1 to 64.
    pub fn from_number(number: u8) -> Option<Self> {
        (1..=64).contains(&number).then_some(Self(number))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0)) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 == 34 => f.write_str("SIGRTMIN"),
            None if self.0 == 64 => f.write_str("SIGRTMAX"),
            None if self.0 > 34 => write!(f, "SIGRTMIN+{}", self.0 - 34),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Self, SignalError> {
        let refused = || SignalError(cut(text, VALUE).into_owned());
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return text
                .parse()
                .ok()
                .and_then(Self::from_number)
                .ok_or_else(refused);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let named = NAMES
            .iter()
            .position(|known| !known.is_empty() && *known == name)
            .or(match name {
                "POLL" => Some(29),
                "IOT" => Some(6),
                "CLD" => Some(17),
                "RTMIN" => Some(34),
                "RTMAX" => Some(64),
                _ => None,
            });
        if let Some(number) = named {
            return Ok(Self(number as u8));
        }
        name.strip_prefix("RTMIN+")
            .and_then(|above| above.parse::<u8>().ok())
            .filter(|above| *above <= 30)
            .and_then(|above| Self::from_number(34 + above))
            .ok_or_else(refused)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_is_read_back_from_its_name_and_number() {
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(signal.to_string().parse::<Signal>().unwrap(), signal);
            assert_eq!(number.to_string().parse::<Signal>().unwrap(), signal);
        }
        assert_eq!("INT".parse::<Signal>().unwrap().number(), 2);
        assert_eq!("sigint".parse::<Signal>().unwrap().number(), 2);
        assert_eq!("SIGINT".parse::<Signal>().unwrap().to_string(), "SIGINT");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "0",
            "65",
            "256",
            "-9",
            "SIG",
            "KILL -9",
            "SIGKILL\n",
            "RTMIN+31",
            "é",
        ] {
            assert!(text.parse::<Signal>().is_err(), "{text:?}");
        }
    }
}
