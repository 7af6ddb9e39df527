//! The one place where the control plane's errors become gRPC statuses.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    proto::control::ControlErrorReason,
    registry::{Refusal, RegistryError},
};

/// The `domain` of every `ErrorInfo`.
pub const DOMAIN: &str = "turbopanel.dev";

/// Whatever a call can fail with.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The caller is not let in.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The registry refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A field is wrong.
    #[error("{field}: {mend}")]
    Field {
        /// The field.
        field: &'static str,
        /// How it must be.
        mend: String,
    },
    /// An agent's service was called without saying of which agent.
    #[error("{0} is a service of agents: say which one with the metadata `turbopanel-agent: NAME`")]
    AgentNotNamed(String),
    /// The metadata that names the agent is no name.
    #[error("turbopanel-agent must be {}", crate::registry::name::GRAMMAR)]
    AgentName,
    /// Nobody offers the method.
    #[error("the control plane has no method {0}: reflection lists what there is")]
    Unimplemented(String),
    /// The caller's time is over.
    #[error("the time that the caller allowed is over")]
    DeadlinePassed,
    /// The control plane stops.
    #[error("the control plane is stopping: try again in a few seconds")]
    Stopping,
    /// Too much at once.
    #[error("too many refused calls from this address: try again in a few seconds")]
    TooManyRefusals,
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        use ControlErrorReason as Reason;
        let message = error.to_string();
        let (code, reason, variables): (_, _, Vec<(&str, String)>) = match error {
            CallError::Refused(Refusal::Missing | Refusal::Unknown) => {
                (Code::Unauthenticated, Reason::CallerTokenRequired, vec![])
            }
            CallError::Refused(
                Refusal::Revoked(_) | Refusal::NotCallers(_) | Refusal::NotAgents(_),
            ) => (Code::PermissionDenied, Reason::CallerTokenRefused, vec![]),
            CallError::Registry(RegistryError::AgentUnknown(agent)) => {
                (Code::NotFound, Reason::AgentUnknown, vec![("agent", agent)])
            }
            CallError::Registry(RegistryError::AgentShutOut(agent)) => (
                Code::FailedPrecondition,
                Reason::AgentShutOut,
                vec![("agent", agent)],
            ),
            CallError::Registry(RegistryError::AgentIsIntegrated) => {
                (Code::FailedPrecondition, Reason::AgentIsIntegrated, vec![])
            }
            CallError::Registry(RegistryError::AgentNameInUse { agent, .. }) => (
                Code::AlreadyExists,
                Reason::AgentNameInUse,
                vec![("agent", agent)],
            ),
            CallError::Registry(RegistryError::TokenUnknown(id)) => {
                (Code::NotFound, Reason::TokenUnknown, vec![("token_id", id)])
            }
            CallError::Registry(RegistryError::TooManyTokens(_)) => {
                (Code::ResourceExhausted, Reason::ControlPlaneFault, vec![])
            }
            CallError::Registry(RegistryError::Random(_) | RegistryError::Store(_)) => {
                return fault(&error);
            }
            CallError::Field { field, .. } => (
                Code::InvalidArgument,
                Reason::ControlInvalidField,
                vec![("field", field.to_owned())],
            ),
            CallError::AgentNotNamed(_) => (Code::InvalidArgument, Reason::AgentNotNamed, vec![]),
            CallError::AgentName => (
                Code::InvalidArgument,
                Reason::ControlInvalidField,
                vec![("field", "turbopanel-agent".to_owned())],
            ),
            CallError::Unimplemented(_) => (Code::Unimplemented, Reason::MethodUnknown, vec![]),
            CallError::DeadlinePassed => (Code::DeadlineExceeded, Reason::DeadlinePassed, vec![]),
            CallError::Stopping => (Code::Unavailable, Reason::ControlPlaneStopping, vec![]),
            CallError::TooManyRefusals => {
                (Code::ResourceExhausted, Reason::TooManyRefusals, vec![])
            }
        };
        build(code, reason, message, variables)
    }
}

/// The log has the whole chain, the caller a safe sentence.
fn fault(error: &CallError) -> Status {
    let mut chain = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        chain = format!("{chain}: {cause}");
        source = cause.source();
    }
    tracing::error!(
        error = chain,
        "a call failed by a fault of the control plane"
    );
    build(
        Code::Internal,
        ControlErrorReason::ControlPlaneFault,
        "the control plane could not do it: its log says why".to_owned(),
        vec![],
    )
}

fn build(
    code: Code,
    reason: ControlErrorReason,
    message: String,
    variables: Vec<(&str, String)>,
) -> Status {
    let metadata: HashMap<String, String> = variables
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let details = ErrorDetails::with_error_info(reason.as_str_name(), DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}
