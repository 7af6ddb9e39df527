//! Why links end: the close codes, and what each end knows of the reason.

use std::fmt;

/// Why the accepting end closed, as WebSocket close codes (RFC 6455, section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// 1000: all is done.
    Done,
    /// 1001: the process stops.
    GoingAway,
    /// 1002: the peer broke the protocol.
    Protocol,
    /// 4401: the token is not accepted.
    Unauthenticated,
    /// 4403: the token or the agent was revoked.
    Revoked,
    /// 4408: the peer's greeting came too late.
    TooLate,
    /// 4409: a newer connection has taken this one's place.
    Superseded,
    /// 4426: the peer speaks another protocol.
    WrongProtocol,
    /// 4429: too much at once.
    Overloaded,
    /// Any other code.
    Other(u16),
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        match code {
            CloseCode::Done => 1000,
            CloseCode::GoingAway => 1001,
            CloseCode::Protocol => 1002,
            CloseCode::Unauthenticated => 4401,
            CloseCode::Revoked => 4403,
            CloseCode::TooLate => 4408,
            CloseCode::Superseded => 4409,
            CloseCode::WrongProtocol => 4426,
            CloseCode::Overloaded => 4429,
            CloseCode::Other(code) => code,
        }
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        match code {
            1000 => Self::Done,
            1001 => Self::GoingAway,
            1002 => Self::Protocol,
            4401 => Self::Unauthenticated,
            4403 => Self::Revoked,
            4408 => Self::TooLate,
            4409 => Self::Superseded,
            4426 => Self::WrongProtocol,
            4429 => Self::Overloaded,
            code => Self::Other(code),
        }
    }
}

/// How this end wants to close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
}

impl Closing {
    pub(crate) fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The peer closed it.
    ClosedByPeer {
        /// With this code.
        code: CloseCode,
        /// And this sentence.
        reason: String,
    },
    /// This end closed it.
    ClosedHere {
        /// With this code.
        code: CloseCode,
        /// And this sentence.
        reason: String,
    },
    /// The connection broke.
    Cut(String),
    /// The peer has not sent a byte for too long.
    Silent,
    /// The peer broke the protocol.
    Violation(String),
    /// A step of the greeting took too long.
    GreetingTooLate,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedByPeer { code, reason } => {
                write!(
                    f,
                    "the peer closed the connection (code {}",
                    u16::from(*code)
                )?;
                match reason.as_str() {
                    "" => write!(f, ")"),
                    reason => write!(f, ": {reason})"),
                }
            }
            Self::ClosedHere { reason, .. } => write!(f, "closed here: {reason}"),
            Self::Cut(error) => write!(f, "the connection broke: {error}"),
            Self::Silent => write!(f, "the peer was silent for too long"),
            Self::Violation(what) => write!(f, "the peer broke the protocol: {what}"),
            Self::GreetingTooLate => write!(f, "the peer's greeting did not come within 10 s"),
        }
    }
}
