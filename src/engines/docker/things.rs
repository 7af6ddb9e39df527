//! Networks, volumes, and files in containers: what the engine's refusals mean for them.

use std::fmt;

use super::error::Error;

/// What kind of thing a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A network.
    Network,
    /// A volume.
    Volume,
}

impl Kind {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Volume => "volume",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a call is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Thing<'a> {
    /// One network.
    Network(&'a str),
    /// A network to be made.
    NewNetwork(&'a str),
    /// One volume.
    Volume(&'a str),
    /// A volume to be made.
    NewVolume(&'a str),
    /// A container's place on a network.
    Membership {
        network: &'a str,
        container: &'a str,
    },
}

impl Thing<'_> {
    /// What the engine meant.
    pub(super) fn refused(self, status: u16, message: String) -> Error {
        let (kind, name) = match self {
            Self::Network(name) | Self::NewNetwork(name) => (Kind::Network, name),
            Self::Volume(name) | Self::NewVolume(name) => (Kind::Volume, name),
            Self::Membership { network, .. } => (Kind::Network, network),
        };
        let name = name.to_owned();
        match (self, status) {
            (Self::Membership { container, .. }, _) if message.contains("No such container") => {
                Error::ContainerNotFound {
                    container: container.to_owned(),
                }
            }
            (Self::Membership { .. }, 403) if message.contains("already exists in network") => {
                Error::InUse {
                    kind,
                    name,
                    message,
                }
            }
            (Self::Membership { .. }, _) if message.contains("is not connected to") => {
                Error::NotAllowed { message }
            }
            (Self::NewNetwork(_) | Self::NewVolume(_), 409) => Error::Taken { kind, name },
            // A driver's plugin.
            (Self::NewNetwork(_) | Self::NewVolume(_), 404) => Error::Rejected { message },
            (Self::Network(_) | Self::Membership { .. } | Self::Volume(_), 404) => {
                Error::NotThere { kind, name }
            }
            (Self::Network(_), 403) if message.contains("active endpoints") => Error::InUse {
                kind,
                name,
                message,
            },
            (Self::Volume(_), 409) => Error::InUse {
                kind,
                name,
                message,
            },
            (_, 400) => Error::Rejected { message },
            (_, 403 | 409) => Error::NotAllowed { message },
            _ => Error::Failed { status, message },
        }
    }
}
