//! Changes of what exists: tokens made and revoked, agents removed. One after the other, each in a task of
//! its own: a caller that goes away in the middle leaves nothing half done.

use std::{panic::resume_unwind, sync::Arc, time::SystemTime};

use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use super::{Registry, RegistryError, Secret, Token, name, tokens};
use crate::store::{AgentRecord, StoreError, TokenKind, TokenRecord};

/// How many revoked tokens are forgotten when there are too many.
const FORGOTTEN: usize = 1000;

/// The changes that run.
#[derive(Debug, Default)]
pub(super) struct Changes {
    tasks: TaskTracker,
    turn: Mutex<()>,
}

impl Registry {
    /// Makes a token. An agent's token also makes its agent known.
    pub async fn create_token(
        self: &Arc<Self>,
        kind: TokenKind,
        name: &str,
    ) -> Result<(Arc<Token>, Secret), RegistryError> {
        let (registry, name) = (Arc::clone(self), name.to_owned());
        self.change(async move { registry.create(kind, name).await })
            .await
    }

    /// Revokes a token and ends what lives by it. Returns how many connections that were.
    pub async fn revoke_token(self: &Arc<Self>, id: &str) -> Result<u32, RegistryError> {
        let token = self.tokens.find(id);
        let token = token.ok_or_else(|| RegistryError::token_unknown(id))?;
        let registry = Arc::clone(self);
        self.change(async move { registry.revoke(&token).await })
            .await
    }

    /// Forgets an agent, revokes its tokens and ends its connection. Returns how many tokens that were.
    pub async fn remove_agent(self: &Arc<Self>, name: &str) -> Result<u32, RegistryError> {
        let agent = self.agents.find(name);
        let agent = agent.ok_or_else(|| RegistryError::agent_unknown(name))?;
        if agent.remote.is_none() {
            return Err(RegistryError::AgentIsIntegrated);
        }
        let registry = Arc::clone(self);
        self.change(async move { registry.remove(&agent.name).await })
            .await
    }

    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl Future<Output = Result<T, RegistryError>> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let registry = Arc::clone(self);
        let changing = self.changes.tasks.spawn(async move {
            let _turn = registry.changes.turn.lock().await;
            change.await
        });
        match changing
            .await
            .map_err(tokio::task::JoinError::try_into_panic)
        {
            Ok(changed) => changed,
            Err(Ok(panic)) => resume_unwind(panic),
            Err(Err(_)) => Err(StoreError::Closed.into()),
        }
    }

    async fn create(
        &self,
        kind: TokenKind,
        name: String,
    ) -> Result<(Arc<Token>, Secret), RegistryError> {
        if self.tokens.count() >= tokens::MAX_TOKENS {
            self.forget_tokens().await?;
        }
        let now = SystemTime::now();
        let agent = match kind {
            TokenKind::Admin => None,
            TokenKind::Agent if name == name::LOCAL => {
                return Err(RegistryError::AgentIsIntegrated);
            }
            TokenKind::Agent => {
                if let Some(token) = self.tokens.of_agent(&name).first() {
                    return Err(RegistryError::AgentNameInUse {
                        agent: name,
                        token_id: token.id.to_string(),
                    });
                }
                Some(AgentRecord::new(name.clone(), now))
            }
        };
        let secret = Secret::generate(kind)?;
        let record = TokenRecord {
            id: secret.id().to_owned(),
            kind,
            name,
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

    /// Makes room: forgets those tokens that were revoked and are oldest.
    async fn forget_tokens(&self) -> Result<(), RegistryError> {
        let revoked = self.tokens.oldest_revoked(FORGOTTEN);
        if revoked.is_empty() {
            return Err(RegistryError::TooManyTokens(tokens::MAX_TOKENS));
        }
        tracing::info!(
            tokens = revoked.len(),
            "revoked tokens were forgotten, to make room"
        );
        let ids = revoked.iter().map(|token| token.id.to_string()).collect();
        self.store.forget_tokens(ids).await?;
        self.tokens.forget(&revoked);
        Ok(())
    }

    /// In memory first: a store that fails must not keep the token valid. Then it can be tried again.
    async fn revoke(&self, token: &Token) -> Result<u32, RegistryError> {
        let now = SystemTime::now();
        let ended = token.revoke(now);
        let mut shut_out = None;
        match token.kind {
            TokenKind::Agent if self.tokens.of_agent(&token.name).is_empty() => {
                shut_out = self.agents.shut_out(&token.name, now);
            }
            TokenKind::Agent => {}
            TokenKind::Admin => {
                // Agents keep calls whose caller's link is gone.
                for agent in self.agents.all() {
                    if let Some(remote) = &agent.remote {
                        remote.revoke_caller(&token.id);
                    }
                }
            }
        }
        self.withdraw();
        self.store.revoke_token(token.id.to_string(), now).await?;
        if let Some(agent) = shut_out {
            self.save_agent(&agent).await;
        }
        Ok(ended)
    }

    /// In the store first: once it is gone from memory, nobody could try again.
    async fn remove(&self, name: &str) -> Result<u32, RegistryError> {
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
}
