//! Which version of the engine's API to speak.
//!
//! An engine refuses versions above its own (20.10 refuses 1.53) and very old ones (29 refuses
//! everything below 1.44), so the version is agreed on with the engine that is there, and
//! again when another one is.

use std::{fmt, str::FromStr};

use super::podman;

/// A version of the engine's API, for example 1.41.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    major: u16,
    minor: u16,
}

impl ApiVersion {
    /// The newest version whose types the agent knows.
    pub const NEWEST: Self = Self {
        major: bollard::API_DEFAULT_VERSION.major_version as u16,
        minor: bollard::API_DEFAULT_VERSION.minor_version as u16,
    };

    /// From this version on an engine begins to answer at once when it is asked to tell of a container's end.
    pub(super) const TELLS_AT_ONCE: Self = Self {
        major: 1,
        minor: 30,
    };

    /// A version.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// The version to speak with an engine whose newest is this one.
    pub fn agree(self) -> Self {
        self.min(Self::NEWEST)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an API version")]
pub struct ApiVersionError;

impl FromStr for ApiVersion {
    type Err = ApiVersionError;

    fn from_str(text: &str) -> Result<Self, ApiVersionError> {
        let (major, minor) = text.split_once('.').ok_or(ApiVersionError)?;
        Ok(Self {
            major: major.parse().map_err(|_| ApiVersionError)?,
            minor: minor.parse().map_err(|_| ApiVersionError)?,
        })
    }
}

/// What every answer of an engine says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The newest API version that it speaks.
    pub api: ApiVersion,
    /// Its own version, for example "20.10.24" or "4.3.1 (Podman)". Empty when it does not say.
    pub version: String,
    /// It is Podman, which speaks the same API.
    pub podman: bool,
}

impl Identity {
    /// Reads the headers `Api-Version` and `Server`; none when the first is missing.
    pub fn from_headers(headers: &http::HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let api = text("api-version")?.parse().ok()?;
        // "Docker/20.10.24+dfsg1 (linux)"
        let (product, rest) = text("server")
            .and_then(|server| server.split_once('/'))
            .unwrap_or_default();
        let version = rest.split_whitespace().next().unwrap_or_default();
        let mut version: String = version.chars().take(64).collect();
        let podman = product == podman::SERVER;
        if podman {
            version.push_str(" (Podman)");
        }
        Some(Self {
            api,
            version,
            podman,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn version(text: &str) -> ApiVersion {
        text.parse().unwrap()
    }

    #[test]
    fn the_older_of_both_is_spoken() {
        assert_eq!(version("1.41").agree(), version("1.41"));
        assert_eq!(version("1.99").agree(), ApiVersion::NEWEST);
        assert_eq!(version("2.0").agree(), ApiVersion::NEWEST);
        assert!(version("1.9") < version("1.10"));
        for text in ["", "1", "1.", ".1", "1.4.1", "v1.41", "1.-1", "1.99999"] {
            assert_eq!(text.parse::<ApiVersion>(), Err(ApiVersionError), "{text}");
        }
    }

    #[test]
    fn an_answer_names_its_engine() {
        let mut headers = http::HeaderMap::new();
        assert_eq!(Identity::from_headers(&headers), None);
        headers.insert("api-version", "1.41".parse().unwrap());
        assert_eq!(Identity::from_headers(&headers).unwrap().version, "");
        headers.insert("server", "Docker/20.10.24+dfsg1 (linux)".parse().unwrap());
        let identity = Identity::from_headers(&headers).unwrap();
        assert_eq!(identity.version, "20.10.24+dfsg1");
        assert!(!identity.podman);
        assert_eq!(identity.api, version("1.41"));
        headers.insert("server", "Libpod/4.3.1 (linux)".parse().unwrap());
        let identity = Identity::from_headers(&headers).unwrap();
        assert_eq!(identity.version, "4.3.1 (Podman)");
        assert!(identity.podman);
    }
}
