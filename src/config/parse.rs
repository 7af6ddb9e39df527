//! Parses each setting and collects what is wrong.

use std::{ffi::OsString, fmt, path::PathBuf};

use turbopanel_tunnel::{Target, is_private};

use super::{Config, Flags, LogLevel, Secret};
use crate::{
    engines::{docker::EngineAddress, host::HostRoot},
    excerpt::{VALUE, cut},
};

const DEFAULT_PORT: u16 = 18284;
const ROOT_STATE_DIR: &str = "/var/lib/turbopanel-agent";

/// One setting that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting's environment variable.
    pub name: &'static str,
    /// Its value, unless it is a secret.
    pub value: Option<String>,
    /// What is wrong, and what would be right.
    pub mend: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value:?}: {}", self.name, self.mend),
            None => write!(f, "{}: {}", self.name, self.mend),
        }
    }
}

/// Every setting that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let noun = if count == 1 {
            "setting is"
        } else {
            "settings are"
        };
        write!(f, "{count} {noun} wrong:")?;
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

struct Reader<'a> {
    env: Env<'a>,
    problems: Vec<Problem>,
}

pub(super) fn config(flags: &Flags, env: Env<'_>) -> Result<Config, Problems> {
    let mut reader = Reader {
        env,
        problems: Vec::new(),
    };
    let port = reader.port(flags);
    reader.mode(flags);
    let allow_plaintext = reader.switch("AGENT_ALLOW_PLAINTEXT");
    let target = reader.target(flags, allow_plaintext);
    let token = reader.token(flags);
    let name = reader.name(flags);
    let state_dir = reader.state_dir(flags);
    let engine = reader.engine(flags);
    let host_root = reader.host_root(flags);
    let log_level = reader.log_level(flags);
    let colours = reader.text("NO_COLOR", None).is_none();
    match (target, reader.problems.is_empty()) {
        (Some((control_plane, insecure)), true) => Ok(Config {
            port,
            control_plane,
            insecure,
            token,
            name,
            state_dir,
            engine,
            host_root,
            log_level,
            colours,
        }),
        _ => Err(Problems(reader.problems)),
    }
}

pub(super) fn port(flags: &Flags, env: Env<'_>) -> Result<u16, Problems> {
    let mut reader = Reader {
        env,
        problems: Vec::new(),
    };
    let port = reader.port(flags);
    if reader.problems.is_empty() {
        Ok(port)
    } else {
        Err(Problems(reader.problems))
    }
}

impl Reader<'_> {
    /// The flag, else the variable. Empty counts as not set, as container tools pass it on.
    fn text(&mut self, name: &'static str, flag: Option<&String>) -> Option<String> {
        if let Some(flag) = flag {
            return Some(flag.clone());
        }
        let value = (self.env)(name).filter(|value| !value.is_empty())?;
        match value.into_string() {
            Ok(value) => Some(value),
            Err(_) => {
                self.problem(name, None, "must be UTF-8 text");
                None
            }
        }
    }

    fn problem(&mut self, name: &'static str, value: Option<&str>, mend: impl Into<String>) {
        let value = value.map(|value| cut(value, VALUE).into_owned());
        let mend = mend.into();
        self.problems.push(Problem { name, value, mend });
    }

    fn port(&mut self, flags: &Flags) -> u16 {
        let Some(text) = self.text("AGENT_PORT", flags.port.as_ref()) else {
            return DEFAULT_PORT;
        };
        text.parse().unwrap_or_else(|_| {
            self.problem(
                "AGENT_PORT",
                Some(&text),
                "must be a port, 0 to 65535 (0 takes a free one)",
            );
            DEFAULT_PORT
        })
    }

    fn mode(&mut self, flags: &Flags) {
        match self.text("AGENT_MODE", flags.mode.as_ref()).as_deref() {
            Some("websocket") => {}
            Some(mode @ "durable-objects") => self.problem(
                "AGENT_MODE",
                Some(mode),
                "this version does not speak to Durable Objects yet; use websocket with a self-hosted control plane",
            ),
            Some(other) => self.problem("AGENT_MODE", Some(other), "must be websocket or durable-objects"),
            None => self.problem("AGENT_MODE", None, "must be set to websocket or durable-objects"),
        }
    }

    fn switch(&mut self, name: &'static str) -> bool {
        match self.text(name, None).as_deref() {
            None | Some("0") => false,
            Some("1") => true,
            Some(other) => {
                self.problem(name, Some(other), "must be 1 or 0");
                false
            }
        }
    }

    /// The control plane, and whether the way there is open to others.
    fn target(&mut self, flags: &Flags, allow_plaintext: bool) -> Option<(Target, bool)> {
        const NAME: &str = "CONTROL_PLANE_URL";
        let Some(url) = self.text(NAME, flags.control_plane_url.as_ref()) else {
            self.problem(
                NAME,
                None,
                "must be set, for example to https://plane.example or http://10.0.0.1:18282",
            );
            return None;
        };
        let target = match Target::parse(&url) {
            Ok(target) => target,
            Err(error) => {
                // The value may hold a password: it is not shown.
                self.problem(NAME, None, error.to_string());
                return None;
            }
        };
        if !target.is_plaintext() {
            return Some((target, false));
        }
        if !allow_plaintext && target.ip().is_some_and(|ip| !is_private(ip)) {
            self.problem(
                NAME,
                Some(&target.to_string()),
                "http:// to a public address would show the token to everybody on the way; use https://, or set AGENT_ALLOW_PLAINTEXT=1",
            );
        }
        let here = target.ip().is_some_and(|ip| ip.is_loopback()) || target.host() == "localhost";
        let target = if allow_plaintext {
            target
        } else {
            target.private_only()
        };
        Some((target, !here))
    }

    fn token(&mut self, flags: &Flags) -> Option<Secret> {
        let token = self.text("AGENT_TOKEN", None);
        let file = self.text("AGENT_TOKEN_FILE", flags.token_file.as_ref());
        let (name, token) = match (token, file) {
            (Some(_), Some(_)) => {
                self.problem(
                    "AGENT_TOKEN",
                    None,
                    "is set and AGENT_TOKEN_FILE too; set one of them",
                );
                return None;
            }
            (Some(token), None) => ("AGENT_TOKEN", token),
            (None, Some(file)) => match std::fs::read_to_string(&file) {
                Ok(token) => ("AGENT_TOKEN_FILE", token),
                Err(error) => {
                    self.problem(
                        "AGENT_TOKEN_FILE",
                        Some(&file),
                        format!("cannot be read: {error}"),
                    );
                    return None;
                }
            },
            (None, None) => return None,
        };
        let token = token.trim();
        if token.is_empty()
            || token.len() > 4096
            || !token.bytes().all(|byte| byte.is_ascii_graphic())
        {
            self.problem(
                name,
                None,
                "must hold one token: visible ASCII characters without blanks",
            );
            return None;
        }
        Some(Secret::new(token.to_owned()))
    }

    fn name(&mut self, flags: &Flags) -> Option<String> {
        let name = self.text("AGENT_NAME", flags.name.as_ref())?;
        let inner =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = name.as_bytes();
        if bytes.len() > 63
            || !bytes.iter().copied().all(inner)
            || !edge(bytes.first())
            || !edge(bytes.last())
        {
            self.problem(
                "AGENT_NAME",
                Some(&name),
                "must be 1 to 63 lower-case letters, digits, \".\" and \"-\", beginning and ending with a letter or digit",
            );
        }
        Some(name)
    }

    fn state_dir(&mut self, flags: &Flags) -> PathBuf {
        if let Some(dir) = self.text("AGENT_STATE_DIR", flags.state_dir.as_ref()) {
            let path = PathBuf::from(&dir);
            if !path.is_absolute() {
                self.problem("AGENT_STATE_DIR", Some(&dir), "must be an absolute path");
            }
            return path;
        }
        if rustix::process::geteuid().is_root() {
            return PathBuf::from(ROOT_STATE_DIR);
        }
        let xdg = self.text("XDG_STATE_HOME", None).map(PathBuf::from);
        let home = || {
            self.text("HOME", None)
                .map(|home| PathBuf::from(home).join(".local/state"))
        };
        xdg.or_else(home).map_or_else(
            || PathBuf::from(ROOT_STATE_DIR),
            |dir| dir.join("turbopanel-agent"),
        )
    }

    fn engine(&mut self, flags: &Flags) -> EngineAddress {
        let text = self
            .text("DOCKER_HOST", flags.docker_host.as_ref())
            .unwrap_or_default();
        text.parse()
            .unwrap_or_else(|error: crate::engines::docker::address::AddressError| {
                self.problem("DOCKER_HOST", None, error.to_string());
                EngineAddress::default()
            })
    }

    fn host_root(&mut self, flags: &Flags) -> HostRoot {
        let Some(folder) = self.text("AGENT_HOST_ROOT", flags.host_root.as_ref()) else {
            return HostRoot::default();
        };
        let path = PathBuf::from(&folder);
        if !path.is_absolute() || !path.join("proc/stat").exists() {
            let mend = "must be an absolute path under which the host's /proc and /sys are: mount the host's root with `-v /:/host:ro,rslave`, and set it to /host";
            self.problem("AGENT_HOST_ROOT", Some(&folder), mend);
        }
        HostRoot::under(path)
    }

    fn log_level(&mut self, flags: &Flags) -> LogLevel {
        match self.text("LOG_LEVEL", flags.log_level.as_ref()).as_deref() {
            None | Some("info") => LogLevel::Info,
            Some("debug") => LogLevel::Debug,
            Some("warn") => LogLevel::Warn,
            Some("error") => LogLevel::Error,
            Some(other) => {
                self.problem(
                    "LOG_LEVEL",
                    Some(other),
                    "must be debug, info, warn or error",
                );
                LogLevel::Info
            }
        }
    }
}

#[cfg(test)]
#[path = "parse_test.rs"]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that is wrong may panic"
)]
mod tests;
