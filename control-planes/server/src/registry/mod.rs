//! What the control plane knows: agents and tokens, in memory for every call to ask, and written
//! through to the [`crate::store`] before a change is acknowledged.

mod admin_file;
pub mod agents;
mod changes;
mod error;
pub mod name;
mod secret;
pub mod tokens;

use std::{path::Path, time::SystemTime};

use tokio::sync::watch;
use turbopanel_tunnel::Methods;

pub use agents::Agent;
pub use error::{Refusal, RegistryError};
pub use secret::Secret;
pub use tokens::Token;

use crate::store::{AgentRecord, Closing, Store, StoreError, TokenKind, TokenRecord};

/// Agents and tokens.
#[derive(Debug)]
pub struct Registry {
    /// The agents.
    pub agents: agents::Agents,
    /// The tokens.
    pub tokens: tokens::Tokens,
    store: Store,
    changes: changes::Changes,
    /// Counts revoked tokens and removed agents.
    withdrawn: watch::Sender<u64>,
}

impl Registry {
    /// Opens the state in a data directory. `methods` are the agents'; `integrated` is the agent inside this
    /// process, if there is one.
    pub async fn open(
        dir: &Path,
        methods: Methods,
        integrated: Option<AgentRecord>,
    ) -> Result<(Self, Closing), StoreError> {
        let (store, contents, closing) = Store::open(dir).await?;
        let valid = |token: &&TokenRecord| token.revoked_at.is_none();
        let agents_tokens = contents.tokens.iter().filter(valid);
        let admitted = agents_tokens
            .filter(|token| token.kind == TokenKind::Agent)
            .map(|token| token.name.clone())
            .collect();
        let agents = agents::Agents::load(contents.agents, &admitted, methods);
        if let Some(record) = integrated {
            agents.integrate(record);
        }
        let registry = Self {
            agents,
            tokens: tokens::Tokens::load(contents.tokens),
            store,
            changes: changes::Changes::default(),
            withdrawn: watch::Sender::new(0),
        };
        Ok((registry, closing))
    }

    /// Wakes whenever a token was revoked or an agent removed.
    pub fn withdrawn(&self) -> watch::Receiver<u64> {
        self.withdrawn.subscribe()
    }

    /// Writes what is remembered of an agent. A failure is logged: it must not keep the agent away.
    pub async fn save_agent(&self, agent: &Agent) {
        if agent.ended().is_cancelled() {
            return;
        }
        if let Err(error) = self.store.update_agent(agent.snapshot().record).await {
            tracing::error!(agent = %agent.name, %error, "what is known of the agent could not be written");
        }
    }

    /// Writes who is here and which tokens are in use. Called each minute and at the end.
    pub async fn save_uses(&self) {
        let now = SystemTime::now();
        let seen = self.agents.connected_names();
        let seen: Vec<_> = seen.into_iter().map(|name| (name, now)).collect();
        let used = self.tokens.take_unsaved();
        let mut result = Ok(());
        if !seen.is_empty() {
            result = self.store.agents_seen(seen).await;
        }
        if !used.is_empty() {
            result = result.and(self.store.tokens_used(used).await);
        }
        if let Err(error) = result {
            tracing::error!(%error, "when agents and tokens were last seen could not be written");
        }
    }
}
