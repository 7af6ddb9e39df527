//! Names from outside, parsed once at the door.
//!
//! bollard escapes nothing, so a container called `../volumes/x` would reach another part of the
//! engine's API. Whatever is held by a type of this file can stand in a URL path as it is;
//! nothing else reaches the engine.

use std::{fmt, str::FromStr};

use crate::excerpt::{VALUE, cut};

/// The longest name that is accepted, in characters (all of them ASCII).
const MAX_NAME: usize = 255;

/// Why a name was refused, with the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {what}: {mend}")]
pub struct NameError {
    /// The beginning of what was given.
    pub given: String,
    what: &'static str,
    mend: &'static str,
}

impl NameError {
    pub(super) fn new(given: &str, what: &'static str, mend: &'static str) -> Self {
        Self {
            given: cut(given, VALUE).into_owned(),
            what,
            mend,
        }
    }
}

const NAME_MEND: &str = "use letters, digits, \"_\", \".\" and \"-\", begin with a letter or a digit, at most 255 characters";

/// Letters, digits, `_`, `.` and `-`, the first a letter or a digit.
fn plain(text: &str) -> bool {
    text.len() <= MAX_NAME
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $parse:path) => {
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
                $parse(text)?;
                Ok(Self(text.to_owned()))
            }
        }
    };
}

name!(
    /// Names an existing container: its name, its full id or the beginning of its id.
    ContainerRef,
    container_ref
);
name!(
    /// The name of a container that is to be made.
    ContainerName,
    container_name
);
name!(
    /// Names an image: `busybox`, `registry.example:5000/team/app:1.2`, `app@sha256:…`, or an id.
    ImageRef,
    image_ref
);
name!(
    /// The name or id of a network.
    NetworkName,
    network_name
);
name!(
    /// The name of a volume.
    VolumeName,
    volume_name
);
name!(
    /// The name of a driver: the engine's own, or a plugin's, which is named like an image.
    DriverName,
    driver_name
);
name!(
    /// The id of an exec, as the engine made it.
    ExecId,
    exec_id
);

fn container_ref(text: &str) -> Result<(), NameError> {
    if plain(text) {
        return Ok(());
    }
    Err(NameError::new(text, "a container's name or id", NAME_MEND))
}

fn container_name(text: &str) -> Result<(), NameError> {
    if plain(text) && text.len() >= 2 {
        return Ok(());
    }
    Err(NameError::new(
        text,
        "a name for a container",
        "use 2 to 255 letters, digits, \"_\", \".\" and \"-\", and begin with a letter or a digit",
    ))
}

fn network_name(text: &str) -> Result<(), NameError> {
    if plain(text) {
        return Ok(());
    }
    Err(NameError::new(text, "a network's name", NAME_MEND))
}

fn volume_name(text: &str) -> Result<(), NameError> {
    if plain(text) {
        return Ok(());
    }
    Err(NameError::new(text, "a volume's name", NAME_MEND))
}

fn driver_name(text: &str) -> Result<(), NameError> {
    if plain(text) || image_ref(text).is_ok() {
        return Ok(());
    }
    Err(NameError::new(text, "a driver's name", NAME_MEND))
}

fn exec_id(text: &str) -> Result<(), NameError> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(NameError::new(
        text,
        "an exec's id",
        "expected 64 hexadecimal digits from the engine",
    ))
}

fn image_ref(text: &str) -> Result<(), NameError> {
    if text.len() <= MAX_NAME + 200 && image_grammar(text).is_some() {
        return Ok(());
    }
    Err(NameError::new(
        text,
        "an image's name",
        "write it as [registry[:port]/]name[:tag][@sha256:digest], the name in lower case",
    ))
}

/// The grammar of the distribution project's references, and bare ids.
fn image_grammar(text: &str) -> Option<()> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    if let Some(digest) = digest {
        let hex = digest.strip_prefix("sha256:")?;
        if hex.len() != 64 || !lower_hex(hex) {
            return None;
        }
    }
    if let Some(id) = rest.strip_prefix("sha256:")
        && digest.is_none()
        && id.len() == 64
        && lower_hex(id)
    {
        return Some(());
    }
    // A colon after the last slash begins the tag; one before it belongs to the registry's port.
    let after_slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match rest.get(after_slash..)?.find(':') {
        Some(at) => (
            rest.get(..after_slash + at)?,
            rest.get(after_slash + at + 1..),
        ),
        None => (rest, None),
    };
    if let Some(tag) = tag {
        let first = tag.bytes().next()?;
        if tag.len() > 128
            || !(first.is_ascii_alphanumeric() || first == b'_')
            || !tag
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        {
            return None;
        }
    }
    if path.len() > MAX_NAME {
        return None;
    }
    let components = match path.split_once('/') {
        Some((first, others)) if is_registry(first) => others,
        _ => path,
    };
    components.split('/').all(is_component).then_some(())
}

pub(super) fn lower_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

pub(super) fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let labels = host.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    let marked = port.is_some() || host.contains('.') || host == "localhost";
    labels && marked && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// Lower-case letters and digits, separated by one `.`, one or two `_`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    ends(text.bytes().next())
        && ends(text.bytes().last())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        && ["..", "._", "_.", ".-", "-.", "___", "_-", "-_"]
            .iter()
            .all(|pair| !text.contains(pair))
}

#[cfg(test)]
#[path = "names_test.rs"]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
