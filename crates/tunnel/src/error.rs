//! The statuses that the tunnel itself makes, each with one `google.rpc.ErrorInfo`.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{headers::HeaderError, proto::TunnelErrorReason};

/// Builds a status with its machine-readable reason and the variables of its message.
pub fn status(
    code: Code,
    reason: TunnelErrorReason,
    message: impl Into<String>,
    metadata: &[(&str, &str)],
) -> Status {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let details = ErrorDetails::with_error_info(reason.as_str_name(), "turbopanel.dev", metadata);
    Status::with_error_details(code, message, details)
}

pub(crate) fn call_lost() -> Status {
    status(
        Code::Unavailable,
        TunnelErrorReason::CallLost,
        "the connection was cut and the call could not be resumed; its outcome is not known",
        &[],
    )
}

pub(crate) fn deadline_passed() -> Status {
    status(
        Code::DeadlineExceeded,
        TunnelErrorReason::DeadlinePassed,
        "the time that the caller allowed is over",
        &[],
    )
}

pub(crate) fn protocol_violation(what: &str) -> Status {
    status(
        Code::Internal,
        TunnelErrorReason::ProtocolViolation,
        format!("the peer broke the tunnel's protocol: {what}"),
        &[],
    )
}

pub(crate) fn bad_headers(error: HeaderError) -> Status {
    status(
        Code::ResourceExhausted,
        TunnelErrorReason::TooLarge,
        error.to_string(),
        &[("limit", "16384")],
    )
}
