//! Why a command failed: one sentence, what mends it, and the exit code.

use std::{
    io::{self, Write as _},
    net::IpAddr,
    path::PathBuf,
};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use turbopanel_control_plane::serve::ServeError;
use turbopanel_tunnel::TargetError;

use super::{
    colour::{self, Colour},
    connection::ANSWER,
    directory, text,
};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the URL of the control plane {0}")]
    Url(#[source] TargetError),
    #[error(
        "{host} is at the public address {ip}, and http:// would show the token to everybody on the way"
    )]
    Plaintext { host: String, ip: IpAddr },
    #[error("no token for {url}")]
    NoToken {
        url: String,
        looked_in: Option<PathBuf>,
    },
    #[error("cannot read the token in {}: {source}", path.display())]
    TokenFile { path: PathBuf, source: io::Error },
    #[error("the token {0} is empty or holds characters that no token has")]
    TokenShape(String),
    #[error("no control plane answers at {url}: {cause}")]
    Unreachable { url: String, cause: String },
    #[error("{}", sentence(.0))]
    Refused(Box<Status>),
    #[error("{0}")]
    Argument(String),
    #[error("the answer of the control plane holds no {0}: their versions do not match")]
    Answer(&'static str),
    #[error("the call ended before its result came")]
    Cut,
    #[error("{failed} of {asked} connected agents could not be asked")]
    Partly { failed: usize, asked: usize },
    #[error("cannot read standard input: {0}; the command was killed")]
    Input(#[source] io::Error),
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("it was cancelled")]
    Cancelled,
    #[error("stopped by signal {0}")]
    Signal(u8),
    #[error("cannot start: {0}")]
    Start(#[source] io::Error),
    #[error("{0}")]
    Serve(#[source] ServeError),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl Failure {
    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Url(_) | Self::Plaintext { .. } | Self::Argument(_) => 2,
            Self::Unreachable { .. } | Self::Partly { .. } => 3,
            Self::Refused(status) if status.code() == Code::DeadlineExceeded => 3,
            Self::Refused(status) => match reason(status).as_deref() {
                Some(
                    "AGENT_OFFLINE"
                    | "AGENT_SHUT_OUT"
                    | "AGENT_STOPPING"
                    | "CONTROL_PLANE_STOPPING"
                    | "ENGINE_UNREACHABLE",
                ) => 3,
                Some("CONTROL_PLANE_UNREACHABLE") if status.code() == Code::Unavailable => 3,
                _ => 1,
            },
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Signal(number) => 128_u8.saturating_add(*number),
            _ => 1,
        }
    }

    /// Tells it on standard error. A reader that left and a signal need no words.
    pub(crate) fn tell(&self) {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return,
            Self::Signal(_) => return,
            _ => {}
        }
        let colours = colour::on_stderr();
        let error = Colour::Bad.paint("error:", colours);
        let mut words = format!("{error} {}\n", text::safe(&self.to_string()));
        if let Some(hint) = self.hint() {
            let label = Colour::Faint.paint("hint:", colours);
            words.push_str(&format!("{label} {hint}\n"));
        }
        let _ = io::stderr().write_all(words.as_bytes());
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Url(_) => {
                "set it with --url or TURBOPANEL_URL, for example http://127.0.0.1:18282"
            }
            Self::Plaintext { .. } => {
                "use https://, or allow it with --allow-plaintext or TURBOPANEL_ALLOW_PLAINTEXT=1"
            }
            Self::NoToken {
                looked_in: Some(path),
                ..
            } => {
                return Some(format!(
                    "there is none in {}: run this as the user that runs `turbopanel serve`, name its directory with --data-dir, or set TURBOPANEL_TOKEN",
                    path.display()
                ));
            }
            Self::NoToken { .. } | Self::TokenShape(_) => TOKEN,
            Self::TokenFile { path, source }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                return Some(if path.starts_with(directory::FOR_ROOT) {
                    "run this with sudo, or set TURBOPANEL_TOKEN".to_owned()
                } else {
                    format!(
                        "run this as the owner of {}, or set TURBOPANEL_TOKEN",
                        path.display()
                    )
                });
            }
            Self::TokenFile { .. } => TOKEN,
            Self::Unreachable { .. } => {
                "start one with `turbopanel serve`, or name another with --url or TURBOPANEL_URL"
            }
            Self::Refused(status) if status.code() == Code::DeadlineExceeded => {
                "what it did is not known; `turbopanel agents` tells whether the agent is connected"
            }
            Self::Refused(status) => hint_of(&reason(status)?)?,
            Self::Cut => "what it did is not known; look before you run it again",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

const TOKEN: &str = "name a file that holds it with --token-file, or set TURBOPANEL_TOKEN; `turbopanel token create NAME --admin` makes one";

/// For reasons whose sentence does not say it itself.
fn hint_of(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "AGENT_OFFLINE" => {
            "see that the agent runs on its server; `turbopanel agents` lists all agents"
        }
        "CALLER_TOKEN_REQUIRED" => TOKEN,
        "CONTAINER_NOT_FOUND" => "`turbopanel ps AGENT --all` lists the containers",
        "ENGINE_UNREACHABLE" => {
            "see that the container engine runs there, for example with `docker info`"
        }
        "CALL_LOST" => "what it did is not known; look before you run it again",
        _ => return None,
    })
}

/// The `reason` of the status, when it says one.
pub(crate) fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

fn sentence(status: &Status) -> String {
    match status.message() {
        // Only the command line sets deadlines here.
        _ if status.code() == Code::DeadlineExceeded => {
            format!("no answer came within {} s", ANSWER.as_secs())
        }
        "" if status.code() == Code::Unimplemented => {
            "the other end does not know this call: its version is not that of this program"
                .to_owned()
        }
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_exit_code_and_mend() {
        let refused = |code, reason| {
            let details = tonic_types::ErrorDetails::with_error_info(reason, "turbopanel.dev", []);
            Failure::from(Status::with_error_details(
                code,
                "agent web-2 is away",
                details,
            ))
        };
        let offline = refused(Code::Unavailable, "AGENT_OFFLINE");
        assert_eq!(
            (offline.exit_code(), offline.to_string().as_str()),
            (3, "agent web-2 is away")
        );
        assert!(offline.hint().unwrap().contains("turbopanel agents"));
        assert_eq!(
            refused(Code::NotFound, "CONTAINER_NOT_FOUND").exit_code(),
            1
        );
        assert_eq!(
            refused(Code::Unauthenticated, "CONTROL_PLANE_UNREACHABLE").exit_code(),
            1
        );
        assert_eq!(
            refused(Code::Unavailable, "CONTROL_PLANE_UNREACHABLE").exit_code(),
            3
        );
        assert_eq!(Failure::Signal(2).exit_code(), 130);
        assert_eq!(
            Failure::Output(io::ErrorKind::BrokenPipe.into()).exit_code(),
            0
        );
        assert_eq!(
            Failure::Output(io::ErrorKind::StorageFull.into()).exit_code(),
            1
        );
    }
}
