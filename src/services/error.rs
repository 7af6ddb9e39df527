//! The one place where errors become gRPC statuses.
//!
//! Every status carries one `google.rpc.ErrorInfo`, so that a program can tell errors apart
//! without reading sentences.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::proto::ErrorReason;

/// The `domain` of every `ErrorInfo`.
pub const DOMAIN: &str = "turbopanel.dev";

/// Builds a status: a short, safe sentence for people, the reason and its variables for programs.
pub fn status(
    code: Code,
    reason: ErrorReason,
    message: impl Into<String>,
    metadata: &[(&str, &str)],
) -> Status {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let details = ErrorDetails::with_error_info(reason.as_str_name(), DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}
