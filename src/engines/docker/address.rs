//! Where the engine listens.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::excerpt::{VALUE, cut};

/// The engine's address, parsed from `DOCKER_HOST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineAddress {
    /// `unix:///var/run/docker.sock`.
    Unix(PathBuf),
    /// `tcp://host:port` or `http://host:port`, without encryption.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

/// Why an address was refused, with the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is none of the forms that are known.
    #[error(
        "{0:?} is not an engine's address: write it as unix:///var/run/docker.sock or tcp://host:port"
    )]
    Form(String),
    /// It needs something that the agent does not do.
    #[error(
        "{0:?} needs {1}, which is not supported: run the agent beside the engine and use unix:///var/run/docker.sock"
    )]
    Unsupported(String, &'static str),
}

impl Default for EngineAddress {
    fn default() -> Self {
        Self::Unix(PathBuf::from("/var/run/docker.sock"))
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

impl FromStr for EngineAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Form(shown(text));
        if text.is_empty() {
            return Ok(Self::default());
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return if text.starts_with('/') && !text.contains('\0') {
                Ok(Self::Unix(PathBuf::from(text)))
            } else {
                Err(form())
            };
        };
        match scheme {
            "unix" if rest.starts_with('/') && rest.len() > 1 && !rest.contains('\0') => {
                Ok(Self::Unix(PathBuf::from(rest)))
            }
            "tcp" | "http" => {
                let rest = rest.strip_suffix('/').unwrap_or(rest);
                tcp(rest).ok_or_else(form)
            }
            "https" | "ssh" | "npipe" => {
                let what = match scheme {
                    "https" => "TLS to the engine",
                    "ssh" => "SSH to the engine",
                    _ => "Windows",
                };
                Err(AddressError::Unsupported(shown(text), what))
            }
            _ => Err(form()),
        }
    }
}

/// An address that was refused, without the name and the password that it may hold.
fn shown(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{}://", cut(scheme, 16)), rest),
        None => (String::new(), text),
    };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}***@{}", cut(host, VALUE)),
        None => format!("{scheme}{}", cut(rest, VALUE)),
    }
}

fn tcp(text: &str) -> Option<EngineAddress> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, after)
        }
        None => {
            let at = text.find(':').unwrap_or(text.len());
            text.split_at(at)
        }
    };
    let port = match port {
        "" => 2375,
        port => port
            .strip_prefix(':')?
            .parse()
            .ok()
            .filter(|port| *port != 0)?,
    };
    let named = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
    named.then(|| EngineAddress::Tcp {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn known_forms_are_read_and_written() {
        for (text, written) in [
            ("", "unix:///var/run/docker.sock"),
            ("unix:///run/d.sock", "unix:///run/d.sock"),
            ("/run/d.sock", "unix:///run/d.sock"),
            ("tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375"),
            ("http://engine:80/", "tcp://engine:80"),
            ("tcp://engine", "tcp://engine:2375"),
            ("tcp://[::1]:99", "tcp://[::1]:99"),
        ] {
            assert_eq!(text.parse::<EngineAddress>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_mend() {
        for text in [
            "docker.sock",
            "unix://",
            "unix://a",
            "tcp://",
            "tcp://:1",
            "tcp://a:0",
            "tcp://a:b",
            "tcp://a:99999",
            "tcp://user@a:1",
            "tcp://a/b",
            "tcp://[::1",
            "fd://",
            "tcp://a b:1",
        ] {
            let error = text.parse::<EngineAddress>().unwrap_err();
            assert!(error.to_string().contains("write it as"), "{error}");
        }
        for text in [
            "tcp://me:canary@engine:2375",
            "ssh://me:canary@engine",
            "me:canary@engine:2375",
            "tcp://me:canary/@x@engine",
            "canary://canary@x:canary@engine",
        ] {
            let error = text.parse::<EngineAddress>().unwrap_err().to_string();
            let after = error
                .split_once("://")
                .map_or(error.as_str(), |(_, rest)| rest);
            assert!(!after.contains("canary"), "{error}");
            assert!(error.contains("***@engine"), "{error}");
        }
        let error = "ssh://a".parse::<EngineAddress>().unwrap_err();
        assert!(error.to_string().contains("not supported"), "{error}");
    }
}
