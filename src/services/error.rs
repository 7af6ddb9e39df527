//! The one place where errors become gRPC statuses.
//!
//! Every status carries one `google.rpc.ErrorInfo`, so that a program can tell errors apart
//! without reading sentences.

mod images;

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    engines::{
        docker::{self, things::Kind},
        process,
        stacks::{StackError, compose::RunError, names::StackName},
    },
    excerpt::{VALUE, cut, excerpt},
    proto::ErrorReason,
};

/// The `domain` of every `ErrorInfo`.
pub const DOMAIN: &str = "turbopanel.dev";

/// A message's bytes, at most. In a header each may take three, and it stands in the details once more.
const MAX_MESSAGE: usize = 2048;

/// Code, reason and variables.
type Told = (Code, ErrorReason, Vec<(&'static str, String)>);

/// Builds a status: a short, safe sentence for people, the reason and its variables for programs. It fits
/// into the headers of an answer, whatever came from outside.
pub fn status(
    code: Code,
    reason: ErrorReason,
    message: impl Into<String>,
    metadata: &[(&str, &str)],
) -> Status {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), cut(value, VALUE).into_owned()))
        .collect();
    let details = ErrorDetails::with_error_info(reason.as_str_name(), DOMAIN, metadata);
    let message = excerpt(&message.into(), MAX_MESSAGE);
    Status::with_error_details(code, message, details)
}

/// The status of a field that is wrong.
pub fn invalid(field: &str, value: &str, message: impl std::fmt::Display) -> Status {
    status(
        Code::InvalidArgument,
        ErrorReason::InvalidField,
        format!("{field}: {message}"),
        &[("field", field), ("value", value)],
    )
}

/// The status of an error of the container engine.
pub fn docker(error: docker::Error) -> Status {
    use docker::Error as E;
    let message = error.to_string();
    tracing::debug!(error = %message, "a call to the container engine failed");
    let (code, reason, metadata): Told = match error {
        E::Image(error) => images::image(*error),
        E::Archive(error) => images::archive(error),
        E::Recreate(error) => images::recreate(error),
        E::Ended => (Code::Cancelled, ErrorReason::Unspecified, Vec::new()),
        E::Unreachable { address, .. } | E::NoAnswer { address, .. } => (
            Code::Unavailable,
            ErrorReason::EngineUnreachable,
            vec![("address", address)],
        ),
        E::AccessDenied { address } => (
            Code::PermissionDenied,
            ErrorReason::EngineAccessDenied,
            vec![("address", address)],
        ),
        E::ContainerNotFound { container } => (
            Code::NotFound,
            ErrorReason::ContainerNotFound,
            vec![("container", container)],
        ),
        E::Ambiguous { container } => (
            Code::InvalidArgument,
            ErrorReason::InvalidField,
            vec![("field", "container".to_owned()), ("value", container)],
        ),
        E::ImageNotFound { image } => (
            Code::NotFound,
            ErrorReason::ImageNotFound,
            vec![("image", image)],
        ),
        E::NetworkNotFound { network } => (
            Code::InvalidArgument,
            ErrorReason::InvalidField,
            vec![("field", "network".to_owned()), ("value", network)],
        ),
        E::NameInUse { name } => (
            Code::AlreadyExists,
            ErrorReason::ContainerNameInUse,
            vec![("container", name)],
        ),
        E::StateConflict { container, .. } => (
            Code::FailedPrecondition,
            ErrorReason::ContainerStateConflict,
            vec![("container", container)],
        ),
        E::Rejected { .. } => (
            Code::InvalidArgument,
            ErrorReason::EngineFailed,
            vec![("engine_status", "400".to_owned())],
        ),
        E::OutcomeUnknown {
            container,
            observed,
        } => (
            Code::Unknown,
            ErrorReason::OutcomeUnknown,
            vec![("container", container), ("observed_state", observed)],
        ),
        E::LogsNotReadable { container, driver } => (
            Code::FailedPrecondition,
            ErrorReason::LogsNotReadable,
            vec![("container", container), ("driver", driver)],
        ),
        E::TooManyContainers { .. } => (
            Code::ResourceExhausted,
            ErrorReason::LimitReached,
            vec![("limit", "containers".to_owned())],
        ),
        E::TailTooLong { .. } => (
            Code::ResourceExhausted,
            ErrorReason::LimitReached,
            vec![("limit", "tail_lines".to_owned())],
        ),
        E::ProgramNotFound { program, container } => (
            Code::NotFound,
            ErrorReason::ProgramNotFound,
            vec![("program", program), ("container", container)],
        ),
        E::ProgramDenied { program, container } => (
            Code::PermissionDenied,
            ErrorReason::OsAccessDenied,
            vec![("program", program), ("container", container)],
        ),
        E::UserNotFound { user, container } => (
            Code::NotFound,
            ErrorReason::UserNotFound,
            vec![("user", user), ("container", container)],
        ),
        E::DirectoryNotFound {
            directory,
            container,
        } => (
            Code::NotFound,
            ErrorReason::DirectoryNotFound,
            vec![("directory", directory), ("container", container)],
        ),
        E::SignalUndelivered { container, .. } => (
            Code::FailedPrecondition,
            ErrorReason::OsAccessDenied,
            vec![("container", container)],
        ),
        E::NotThere { kind, name } => (
            Code::NotFound,
            match kind {
                Kind::Network => ErrorReason::NetworkNotFound,
                Kind::Volume => ErrorReason::VolumeNotFound,
            },
            vec![(kind.as_str(), name)],
        ),
        E::Taken { kind, name } => (
            Code::AlreadyExists,
            ErrorReason::NameInUse,
            vec![(kind.as_str(), name)],
        ),
        E::InUse { kind, name, .. } => (
            Code::FailedPrecondition,
            ErrorReason::ResourceInUse,
            vec![(kind.as_str(), name)],
        ),
        E::PathNotFound { container, path } => (
            Code::NotFound,
            ErrorReason::PathNotFound,
            vec![("container", container), ("path", path)],
        ),
        E::NotAllowed { .. } => (
            Code::FailedPrecondition,
            ErrorReason::EngineFailed,
            vec![("engine_status", "403".to_owned())],
        ),
        E::TooOld { needs, api, .. } => (
            Code::Unimplemented,
            ErrorReason::EngineTooOld,
            vec![
                ("needs_api_version", needs.to_string()),
                ("api_version", api.to_string()),
            ],
        ),
        E::Failed { status, .. } => (
            Code::Internal,
            ErrorReason::EngineFailed,
            vec![("engine_status", status.to_string())],
        ),
        E::Protocol(_) => (Code::Internal, ErrorReason::EngineFailed, Vec::new()),
    };
    let metadata: Vec<(&str, &str)> = metadata.iter().map(|(k, v)| (*k, v.as_str())).collect();
    status(code, reason, message, &metadata)
}

/// The status of a process that was not started.
pub fn process(error: process::ProcessError) -> Status {
    use process::{ProcessError as E, user::UserError};
    let message = error.to_string();
    let (code, reason, metadata): (_, _, &[(&str, &str)]) = match &error {
        E::ProgramNotFound { .. } | E::NoPrograms { .. } => {
            (Code::NotFound, ErrorReason::ProgramNotFound, &[])
        }
        E::DirectoryNotFound { .. } => (Code::NotFound, ErrorReason::DirectoryNotFound, &[]),
        E::User(UserError::NotFound { .. }) => (Code::NotFound, ErrorReason::UserNotFound, &[]),
        E::Denied { .. } => (Code::PermissionDenied, ErrorReason::OsAccessDenied, &[]),
        E::TooLong { .. } => (
            Code::InvalidArgument,
            ErrorReason::InvalidField,
            &[("field", "argv")],
        ),
        E::TooSlow { .. } => (
            Code::ResourceExhausted,
            ErrorReason::LimitReached,
            &[("limit", "start")],
        ),
        E::User(UserError::Unreadable(_)) | E::Failed { .. } => {
            (Code::Internal, ErrorReason::AgentFault, &[])
        }
    };
    status(code, reason, message, metadata)
}

/// The status of an error with a stack.
pub fn stack(name: &StackName, error: StackError) -> Status {
    use StackError as E;
    let message = error.to_string();
    let mut metadata = vec![("stack", name.to_string())];
    let (code, reason) = match error {
        E::Engine(error) => return docker(error),
        E::Run(RunError::Start(error)) => return process(error),
        E::Run(RunError::Lost(error)) => return io(error),
        E::Cancelled | E::Run(RunError::Cancelled) => return Status::cancelled(message),
        E::Unavailable(_) => (Code::FailedPrecondition, ErrorReason::StacksUnavailable),
        E::NotReady(_) => (Code::DeadlineExceeded, ErrorReason::TimeOver),
        E::NotFound(_) => (Code::NotFound, ErrorReason::StackNotFound),
        E::FilesMissing { .. } => (Code::FailedPrecondition, ErrorReason::StackFilesMissing),
        E::Mistake(mistake) => {
            if !mistake.file.is_empty() {
                metadata.push(("file", mistake.file));
            }
            if mistake.line > 0 {
                metadata.push(("line", mistake.line.to_string()));
            }
            (Code::InvalidArgument, ErrorReason::StackFileInvalid)
        }
        E::NotWritable { path, .. } => {
            metadata = vec![("path", path.display().to_string())];
            (Code::FailedPrecondition, ErrorReason::StateNotWritable)
        }
        E::Run(RunError::Failed { message, code }) => {
            if let Some(service) = message.strip_prefix("no such service: ") {
                let mend = "the stack has no such service: ValidateStack lists those that it has";
                return invalid("services", service, mend);
            }
            metadata.push(("exit_code", code.to_string()));
            (Code::FailedPrecondition, ErrorReason::StackFailed)
        }
    };
    let metadata: Vec<(&str, &str)> = metadata.iter().map(|(k, v)| (*k, v.as_str())).collect();
    status(code, reason, message, &metadata)
}

/// The status of an error of the operating system while a command runs.
pub fn io(error: std::io::Error) -> Status {
    let message = format!("the operating system failed: {error}");
    status(Code::Internal, ErrorReason::AgentFault, message, &[])
}

/// The status of calls that an agent's stop refuses or ends.
pub fn stopping() -> Status {
    let message = "the agent is stopping: try again when it is back; where this call was to change something, first look whether it has";
    status(Code::Unavailable, ErrorReason::AgentStopping, message, &[])
}

/// The status of a call that failed for a reason that only the agent's log tells.
pub fn fault(cause: impl std::fmt::Display) -> Status {
    tracing::error!(%cause, "a call failed by a fault of the agent; report it with the log");
    let message = "a fault of the agent ended this call; its log has the details";
    status(Code::Internal, ErrorReason::AgentFault, message, &[])
}
