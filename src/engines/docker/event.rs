//! An event of the engine, and the cursor that names its place.
//!
//! Pure: lines in, events out.

use std::{collections::HashMap, fmt, str::FromStr};

use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::ask::nullable;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The engine's own words.
pub struct Event {
    pub kind: String,
    pub action: String,
    pub id: String,
    pub attributes: HashMap<String, String>,
    pub scope: String,
    /// Where in the stream it is.
    pub cursor: Cursor,
}

/// The place of an event: its time, and what tells it from others of that time. Only for calls with the same filters
/// does the place within that time count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub(super) nanos: i64,
    pub(super) event: u64,
    pub(super) filters: u64,
}

/// The text is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("give the cursor of an event as it came")]
pub struct CursorError;

#[derive(Deserialize)]
struct Line {
    #[serde(default, rename = "Type")]
    kind: String,
    #[serde(default, rename = "Action")]
    action: String,
    #[serde(default, rename = "Actor", deserialize_with = "nullable")]
    actor: Actor,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    time: i64,
    #[serde(default, rename = "timeNano")]
    nanos: i64,
}

#[derive(Deserialize, Default)]
struct Actor {
    #[serde(default, rename = "ID")]
    id: String,
    #[serde(default, rename = "Attributes", deserialize_with = "nullable")]
    attributes: HashMap<String, String>,
}

impl Event {
    /// Reads a line of the engine's, in a stream with filters of this fingerprint.
    pub(super) fn read(line: &[u8], filters: u64) -> Result<Self, serde_json::Error> {
        let read: Line = serde_json::from_slice(line)?;
        let nanos = match read.nanos {
            0 => read.time.saturating_mul(1_000_000_000),
            nanos => nanos,
        };
        Ok(Self {
            kind: read.kind,
            action: read.action,
            id: read.actor.id,
            attributes: read.actor.attributes,
            scope: read.scope,
            cursor: Cursor {
                nanos,
                event: fingerprint(line),
                filters,
            },
        })
    }
}

impl Cursor {
    /// When, in nanoseconds since the Unix epoch.
    pub fn nanos(self) -> i64 {
        self.nanos
    }
}

/// Tells texts apart.
pub(super) fn fingerprint(text: &[u8]) -> u64 {
    let digest = digest(&SHA256, text.trim_ascii());
    let first = digest.as_ref().first_chunk().copied();
    u64::from_be_bytes(first.unwrap_or_default())
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:x}-{:016x}-{:016x}",
            self.nanos, self.event, self.filters
        )
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let mut parts = text.split('-').map(|part| u64::from_str_radix(part, 16));
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(nanos)), Some(Ok(event)), Some(Ok(filters)), None) => Ok(Self {
                nanos: i64::try_from(nanos).map_err(|_| CursorError)?,
                event,
                filters,
            }),
            _ => Err(CursorError),
        }
    }
}

/// What to do with what comes after a stream went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    /// All is new.
    Nothing,
    /// Until this one, which is remembered, has come again. Events are not strictly in the order of their times.
    Through(Cursor),
    /// What is not after this time: where exactly the stream was is not known.
    To(i64),
}

/// How far out of order events may be, in nanoseconds.
pub(super) const DISORDER: i64 = 1_000_000_000;

impl Skip {
    /// Whether this event is new.
    pub(super) fn is_new(&mut self, event: Cursor) -> bool {
        match *self {
            Self::Nothing => true,
            Self::To(nanos) => event.nanos > nanos,
            Self::Through(last) if event == last => {
                *self = Self::Nothing;
                false
            }
            Self::Through(last) if event.nanos > last.nanos.saturating_add(DISORDER) => {
                *self = Self::Nothing;
                true
            }
            Self::Through(_) => false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn event(nanos: i64) -> Event {
        let line = format!(
            "{{\"Type\":\"volume\",\"Action\":\"create\",\"Actor\":{{\"ID\":\"v\",\"Attributes\":null}},\"timeNano\":{nanos}}}\n"
        );
        Event::read(line.as_bytes(), 7).unwrap()
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let event = event(1_795_578_340_259_165_905);
        assert_eq!((event.kind.as_str(), event.id.as_str()), ("volume", "v"));
        assert_eq!(event.cursor.to_string().parse(), Ok(event.cursor));
        for wrong in [
            "",
            "1-2",
            "1-2-3-4",
            "x-2-3",
            "ffffffffffffffff-2-3",
            "1--3",
            "-1-2-3",
        ] {
            assert_eq!(wrong.parse::<Cursor>(), Err(CursorError), "{wrong}");
        }
    }

    #[test]
    fn what_was_seen_is_skipped_also_out_of_order() {
        let mut skip = Skip::Through(event(500).cursor);
        let new: Vec<_> = [400, 600, 500, 450, 700]
            .into_iter()
            .filter(|nanos| skip.is_new(event(*nanos).cursor))
            .collect();
        assert_eq!(new, [450, 700]);
        // It never comes again.
        let mut skip = Skip::Through(event(500).cursor);
        assert!(!skip.is_new(event(600).cursor));
        assert!(skip.is_new(event(501 + DISORDER).cursor));
        assert!(skip.is_new(event(600).cursor));
        let mut skip = Skip::To(500);
        let new = [400, 500, 501].map(|nanos| skip.is_new(event(nanos).cursor));
        assert_eq!(new, [false, false, true]);
    }
}
