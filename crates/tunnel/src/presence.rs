//! Whether whom a caller reaches is there: as a control plane knows it, and as frames tell it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tonic::{Code, Status};

use crate::{
    FIRST_WINDOW,
    error::status,
    frames::OutFrame,
    proto::{self, TunnelErrorReason, frame::Kind},
    socket::Instance,
};

/// Whether an agent is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The agent's name.
    pub agent: String,
    /// It is connected.
    pub connected: bool,
    /// Its instance, when known.
    pub instance: Option<Instance>,
    /// The number of its connection.
    pub dial: u64,
    /// How far a request's body may go before the first credit.
    pub window: u64,
    /// When it was last connected. Empty: never.
    pub last_seen: Option<SystemTime>,
}

impl Presence {
    pub(crate) fn away(agent: &str) -> Self {
        Self {
            agent: agent.to_owned(),
            connected: false,
            instance: None,
            dial: 0,
            window: FIRST_WINDOW,
            last_seen: None,
        }
    }

    pub(crate) fn is_same_connection(&self, other: &Self) -> bool {
        self.connected == other.connected
            && self.instance == other.instance
            && self.dial == other.dial
    }

    /// Whether this is a later connection of the same instance.
    pub(crate) fn is_later(&self, other: &Self) -> bool {
        self.instance.is_some() && self.instance == other.instance && self.dial > other.dial
    }

    pub(crate) fn instance_bytes(&self) -> Bytes {
        self.instance
            .map_or_else(Bytes::new, |id| Bytes::copy_from_slice(id.as_bytes()))
    }

    pub(crate) fn to_frame(&self) -> OutFrame {
        let last_seen = self
            .last_seen
            .filter(|_| !self.connected)
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        OutFrame::new(
            0,
            Kind::Presence(proto::Presence {
                connected: self.connected,
                instance: self.instance_bytes(),
                dial: self.dial,
                window: self.window,
                last_seen_unix_ms: last_seen.map_or(0, |since| since.as_millis() as u64),
                agent: self.agent.clone(),
            }),
        )
    }
}

impl From<proto::Presence> for Presence {
    fn from(frame: proto::Presence) -> Self {
        let last_seen = (frame.last_seen_unix_ms > 0)
            .then(|| Duration::from_millis(frame.last_seen_unix_ms))
            .and_then(|since| UNIX_EPOCH.checked_add(since));
        Self {
            agent: frame.agent,
            connected: frame.connected,
            instance: Instance::from_bytes(&frame.instance),
            dial: frame.dial,
            window: match frame.window {
                0 => FIRST_WINDOW,
                window => window,
            },
            last_seen,
        }
    }
}

impl Presence {
    /// The status of calls while it is not.
    pub(crate) fn offline(&self) -> Status {
        let name = &self.agent;
        let last_seen = match self.last_seen {
            None => "never".to_owned(),
            Some(time) => rfc3339(time),
        };
        let seen = match self.last_seen {
            None => "it has never been connected".to_owned(),
            Some(_) => format!("it was last seen at {last_seen}"),
        };
        status(
            Code::Unavailable,
            TunnelErrorReason::AgentOffline,
            format!("agent {name} is not connected; {seen}"),
            &[("agent", name), ("last_seen", &last_seen)],
        )
    }
}

/// Formats a time as RFC 3339 does, to the second.
fn rfc3339(time: SystemTime) -> String {
    let mut timestamp = prost_types::Timestamp::from(time);
    timestamp.nanos = 0;
    timestamp.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_rfc_3339() {
        let at = |seconds| rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(at(1_795_521_600), "2026-11-24T12:00:00Z");
    }
}
