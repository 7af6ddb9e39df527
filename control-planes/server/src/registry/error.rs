//! What the registry refuses.

use super::name::tame;
use crate::store::StoreError;

/// Characters of a foreign name that an error repeats, at most.
const SHOWN: usize = 64;

/// What the registry refuses. Mapped to statuses in [`crate::services::error`].
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no such agent.
    #[error("there is no agent {0}: ListAgents (`turbopanel agents`) lists them")]
    AgentUnknown(String),
    /// The name is the integrated agent's.
    #[error(
        "the name local is kept for the agent inside the control plane, which needs no token and cannot be removed, only left out with --no-integrated-agent: another agent needs another name"
    )]
    AgentIsIntegrated,
    /// The agent's token was revoked, and it has no other.
    #[error("the token of agent {0} was revoked: `turbopanel token create {0}` makes a new one")]
    AgentShutOut(String),
    /// The agent has a valid token already.
    #[error(
        "the agent {agent} has a token already ({token_id}): revoke that one first (`turbopanel token revoke {token_id}`), or choose another name for another server"
    )]
    AgentNameInUse {
        /// The agent.
        agent: String,
        /// Its token.
        token_id: String,
    },
    /// There is no such token.
    #[error("there is no token {0}: ListTokens (`turbopanel token list`) lists them")]
    TokenUnknown(String),
    /// There are as many as the control plane takes.
    #[error(
        "there are {0} valid tokens, as many as the control plane keeps: remove agents that are gone, and revoke tokens that nobody uses"
    )]
    TooManyTokens(usize),
    /// The system has no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The state could not be written.
    #[error("the state could not be written")]
    Store(#[from] StoreError),
}

impl RegistryError {
    /// There is no agent of this name, which came from outside.
    pub fn agent_unknown(name: &str) -> Self {
        Self::AgentUnknown(tame(name, SHOWN))
    }

    /// There is no token of this id, which came from outside.
    pub fn token_unknown(id: &str) -> Self {
        Self::TokenUnknown(tame(id, SHOWN))
    }
}

/// Why a token is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// None was presented.
    #[error("a token is required: send the header `authorization: Bearer TOKEN`")]
    Missing,
    /// It is not known.
    #[error(
        "the token is not known: check that it is whole and belongs to this control plane, or have a new one made by `turbopanel token create`"
    )]
    Unknown,
    /// It was revoked.
    #[error("the token {0} was revoked: have a new one made by `turbopanel token create`")]
    Revoked(String),
    /// It is an agent's, and a caller's is needed.
    #[error(
        "the token {0} is an agent's and opens /agent/connect only: use an administrator's token here"
    )]
    NotCallers(String),
    /// It is a caller's, and an agent's is needed.
    #[error(
        "the token {0} is an administrator's: an agent needs its own, made by `turbopanel token create NAME`"
    )]
    NotAgents(String),
}
