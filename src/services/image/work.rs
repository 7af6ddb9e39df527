//! What calls that begin an operation about an image have in common: credentials, limits, and how steps are told.

use std::{fmt, time::Duration};

use tonic::Status;

use crate::{
    engines::docker::{progress::Step, registry::Credentials},
    operations::Reporter,
    proto::{OutputStream, RegistryCredentials, UserPassword, registry_credentials::Kind},
    services::error::invalid,
};

/// A secret, at most.
const MOST: usize = 16 << 10;
/// How long an engine may say nothing.
pub(in crate::services) const QUIET: Duration = Duration::from_secs(10 * 60);

/// Parses credentials. They are never repeated in an error.
pub(in crate::services) fn credentials(
    credentials: Option<RegistryCredentials>,
) -> Result<Option<Credentials>, Status> {
    let Some(credentials) = credentials else {
        return Ok(None);
    };
    let wrong = |message: &str| Err(invalid("credentials", "", message));
    match credentials.kind {
        None => wrong("give user_password or identity_token, or leave credentials out"),
        Some(Kind::UserPassword(UserPassword { username, password })) => {
            if username.is_empty() || password.is_empty() {
                return wrong("give both username and password");
            }
            if username.contains(':') || username.len() > MOST || password.len() > MOST {
                return wrong("a username has no \":\", and each has at most 16 KiB");
            }
            Ok(Some(Credentials::Password { username, password }))
        }
        Some(Kind::IdentityToken(token)) => {
            if token.is_empty() || token.len() > MOST {
                return wrong("identity_token has 1 byte to 16 KiB");
            }
            Ok(Some(Credentials::IdentityToken(token)))
        }
    }
}

/// Parses the field `quiet_limit`.
pub(in crate::services) fn quiet_limit(
    limit: Option<prost_types::Duration>,
    default: Duration,
) -> Result<Duration, Status> {
    let Some(limit) = limit else {
        return Ok(default);
    };
    let given = format!("{}.{:09} s", limit.seconds, limit.nanos);
    let allowed = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    let parsed = Duration::try_from(limit).ok();
    parsed
        .filter(|limit| allowed.contains(limit))
        .ok_or_else(|| invalid("quiet_limit", &given, "give 1 s to 24 h"))
}

/// Tells a step to an operation's watchers.
pub(in crate::services) fn tell(reporter: &Reporter, step: Step) {
    match step {
        Step::Progress {
            item,
            status,
            current,
            total,
        } => reporter.progress(&item, &status, current, total),
        Step::Output(content) => reporter.output(OutputStream::Stdout, content),
    }
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryCredentials(hidden)")
    }
}

impl fmt::Debug for UserPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserPassword(hidden)")
    }
}
