//! What the control plane knows: agents and tokens, in memory for every call to ask, and written
//! through to the [`crate::store`] before a change is acknowledged.

mod admin_file;
pub mod agents;
mod error;
pub mod name;
mod secret;
pub mod tokens;

use std::{path::Path, sync::Arc, time::SystemTime};

use tokio::sync::{Mutex, watch};
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
    /// Changes of what exists happen one after the other.
    changing: Mutex<()>,
    /// Counts revoked tokens and removed agents.
    withdrawn: watch::Sender<u64>,
}

impl Registry {
    /// Opens the state in a data directory. `methods` are the agents'.
    pub async fn open(
        dir: &Path,
        methods: Methods,
        integrated: bool,
    ) -> Result<(Self, Closing), StoreError> {
        let (store, contents, closing) = Store::open(dir).await?;
        let valid = |token: &&TokenRecord| token.revoked_at.is_none();
        let agents_tokens = contents.tokens.iter().filter(valid);
        let admitted = agents_tokens
            .filter(|token| token.kind == TokenKind::Agent)
            .map(|token| token.name.clone())
            .collect();
        let agents = agents::Agents::load(contents.agents, &admitted, methods);
        if integrated {
            let mut local = AgentRecord::new(name::LOCAL.to_owned(), SystemTime::now());
            env!("CARGO_PKG_VERSION").clone_into(&mut local.version);
            agents.integrate(local);
        }
        let registry = Self {
            agents,
            tokens: tokens::Tokens::load(contents.tokens),
            store,
            changing: Mutex::new(()),
            withdrawn: watch::Sender::new(0),
        };
        Ok((registry, closing))
    }

    /// Wakes whenever a token was revoked or an agent removed.
    pub fn withdrawn(&self) -> watch::Receiver<u64> {
        self.withdrawn.subscribe()
    }

    /// Makes a token. An agent's token also makes its agent known.
    pub async fn create_token(
        &self,
        kind: TokenKind,
        name: &str,
    ) -> Result<(Arc<Token>, Secret), RegistryError> {
        let _alone = self.changing.lock().await;
        if self.tokens.count() >= tokens::MAX_TOKENS {
            return Err(RegistryError::TooManyTokens(tokens::MAX_TOKENS));
        }
        let now = SystemTime::now();
        let agent = match kind {
            TokenKind::Admin => None,
            TokenKind::Agent if name == name::LOCAL => {
                return Err(RegistryError::AgentIsIntegrated);
            }
            TokenKind::Agent => {
                if let Some(token) = self.tokens.of_agent(name).first() {
                    return Err(RegistryError::AgentNameInUse {
                        agent: name.to_owned(),
                        token_id: token.id.to_string(),
                    });
                }
                Some(AgentRecord::new(name.to_owned(), now))
            }
        };
        let secret = Secret::generate(kind)?;
        let record = TokenRecord {
            id: secret.id().to_owned(),
            kind,
            name: name.to_owned(),
            digest: secret.digest(),
            created_at: now,
            last_used_at: None,
            revoked_at: None,
        };
        self.store
            .insert_token(record.clone(), agent.clone())
            .await?;
        if let Some(agent) = agent {
            self.agents.admit(agent);
        }
        Ok((self.tokens.insert(record), secret))
    }

    /// Revokes a token and ends what lives by it. Returns how many connections that were.
    pub async fn revoke_token(&self, id: &str) -> Result<u32, RegistryError> {
        let _alone = self.changing.lock().await;
        let token = self.tokens.find(id);
        let token = token.ok_or_else(|| RegistryError::token_unknown(id))?;
        let now = SystemTime::now();
        self.store.revoke_token(id.to_owned(), now).await?;
        let ended = token.revoke(now);
        let is_last =
            token.kind == TokenKind::Agent && self.tokens.of_agent(&token.name).is_empty();
        if is_last && let Some(agent) = self.agents.shut_out(&token.name, now) {
            self.save_agent(&agent).await;
        }
        self.withdraw();
        Ok(ended)
    }

    /// Forgets an agent, revokes its tokens and ends its connection. Returns how many tokens that were.
    pub async fn remove_agent(&self, name: &str) -> Result<u32, RegistryError> {
        let _alone = self.changing.lock().await;
        let agent = self.agents.find(name);
        let agent = agent.ok_or_else(|| RegistryError::agent_unknown(name))?;
        if agent.remote.is_none() {
            return Err(RegistryError::AgentIsIntegrated);
        }
        let now = SystemTime::now();
        self.store.remove_agent(name.to_owned(), now).await?;
        let tokens = self.tokens.of_agent(name);
        self.agents.remove(name);
        for token in &tokens {
            token.revoke(now);
        }
        self.withdraw();
        Ok(u32::try_from(tokens.len()).unwrap_or(u32::MAX))
    }

    fn withdraw(&self) {
        self.withdrawn
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Writes what is remembered of an agent. A failure is logged: it must not keep the agent away.
    pub async fn save_agent(&self, agent: &Agent) {
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
