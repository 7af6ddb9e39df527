//! What the operator told the agent: environment and flags, parsed once into valid values. Everything
//! that is wrong is told at once, with the mend.

mod parse;

use std::{ffi::OsString, fmt, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use turbopanel_tunnel::Target;

use crate::engines::{docker::EngineAddress, host::HostRoot};
pub use parse::{Problem, Problems};

/// A secret: it never shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides this text.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The text, for the one place that must send or compare it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How much is logged of this program's own doings; libraries stay at `warn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything worth knowing when something is wrong.
    Debug,
    /// What changes.
    Info,
    /// What may need a look.
    Warn,
    /// What needs a person.
    Error,
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The agent's own port.
    pub port: u16,
    /// The control plane.
    pub control_plane: Target,
    /// The connection is neither encrypted nor on this machine.
    pub insecure: bool,
    /// Shown to the control plane, and asked for on the own port.
    pub token: Option<Secret>,
    /// The name that the operator gave.
    pub name: Option<String>,
    /// Where the agent keeps what must outlive it.
    pub state_dir: PathBuf,
    /// The container engine.
    pub engine: EngineAddress,
    /// Where the host's root is.
    pub host_root: HostRoot,
    /// How much is logged.
    pub log_level: LogLevel,
    /// Whether the log may have colours, if it goes to a terminal.
    pub colours: bool,
}

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "turbopanel-agent",
    version,
    // A flag before the command would be taken, and have no effect.
    args_conflicts_with_subcommands = true,
    about = "Connects this server to its TurboPanel control plane.",
    after_help = "Every setting of `run` is also an environment variable, as documented:\n  AGENT_MODE, CONTROL_PLANE_URL, AGENT_TOKEN, AGENT_TOKEN_FILE, AGENT_PORT, AGENT_NAME,\n  AGENT_STATE_DIR, AGENT_HOST_ROOT, DOCKER_HOST, LOG_LEVEL, NO_COLOR, AGENT_ALLOW_PLAINTEXT.\nThe token has no flag: other users of the machine could read it there.\n\nExample:\n  AGENT_MODE=websocket CONTROL_PLANE_URL=https://plane.example AGENT_TOKEN_FILE=/run/secrets/token turbopanel-agent\n\nExit codes: 0 stopped when asked to, 1 failed, 2 wrong usage, 69 the port is in use, 78 wrong configuration."
)]
pub struct Cli {
    /// What to do; `run` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings of `run`.
    #[command(flatten)]
    pub flags: Flags,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Connect, and serve until stopped (the default).
    Run(Flags),
    /// Ask the agent on this machine whether it serves; for a container's HEALTHCHECK.
    Health {
        /// The agent's port [env: AGENT_PORT] [default: 18284].
        #[arg(long)]
        port: Option<String>,
    },
    /// Print the version.
    Version,
}

/// Flags of `run`. Each wins over its environment variable.
#[derive(Args, Clone, Debug, Default)]
pub struct Flags {
    /// How to connect: websocket [env: AGENT_MODE].
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// The control plane's URL [env: CONTROL_PLANE_URL].
    #[arg(long, value_name = "URL")]
    pub control_plane_url: Option<String>,
    /// A file that holds the token [env: AGENT_TOKEN_FILE; or the token itself: AGENT_TOKEN].
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<String>,
    /// The agent's own port [env: AGENT_PORT] [default: 18284].
    #[arg(long)]
    pub port: Option<String>,
    /// The agent's name [env: AGENT_NAME] [default: what the token says].
    #[arg(long)]
    pub name: Option<String>,
    /// Where the agent keeps its state [env: AGENT_STATE_DIR] [default: /var/lib/turbopanel-agent as root].
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<String>,
    /// Where the host's root is mounted, for an agent in a container [env: AGENT_HOST_ROOT] [default: /].
    #[arg(long, value_name = "DIR")]
    pub host_root: Option<String>,
    /// The container engine [env: DOCKER_HOST] [default: unix:///var/run/docker.sock].
    #[arg(long, value_name = "ADDRESS")]
    pub docker_host: Option<String>,
    /// debug, info, warn or error [env: LOG_LEVEL] [default: info].
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

impl Config {
    /// Reads flags and environment. `env` gives the value of a variable.
    pub fn read(flags: &Flags, env: impl Fn(&str) -> Option<OsString>) -> Result<Self, Problems> {
        parse::config(flags, &env)
    }
}

/// Reads just the port, for `health`.
pub fn port(flag: Option<String>, env: impl Fn(&str) -> Option<OsString>) -> Result<u16, Problems> {
    let flags = Flags {
        port: flag,
        ..Flags::default()
    };
    parse::port(&flags, &env)
}
