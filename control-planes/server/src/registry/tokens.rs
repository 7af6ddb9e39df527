//! The tokens in memory: what every door asks.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio_util::sync::CancellationToken;

use super::{
    error::Refusal,
    secret::{digest_of, id_in, same},
};
use crate::store::{TokenKind, TokenRecord};

/// How many tokens are kept. Of revoked ones the oldest are forgotten to keep to it.
pub const MAX_TOKENS: usize = 100_000;

/// A token, with what lives by it.
#[derive(Debug)]
pub struct Token {
    /// Counts up in the order in which tokens were made.
    pub position: u64,
    /// Names it; not secret.
    pub id: Arc<str>,
    /// Whom it lets in.
    pub kind: TokenKind,
    /// The agent's name, or what the token is for.
    pub name: String,
    /// When it was made.
    pub created_at: SystemTime,
    digest: [u8; 32],
    changing: Mutex<Changing>,
    ended: CancellationToken,
    links: AtomicU32,
}

#[derive(Debug)]
struct Changing {
    last_used_at: Option<SystemTime>,
    revoked_at: Option<SystemTime>,
    /// The store does not know `last_used_at` yet.
    unsaved: bool,
}

impl Token {
    fn new(position: u64, record: TokenRecord) -> Self {
        let ended = CancellationToken::new();
        if record.revoked_at.is_some() {
            ended.cancel();
        }
        Self {
            position,
            id: record.id.into(),
            kind: record.kind,
            name: record.name,
            created_at: record.created_at,
            digest: record.digest,
            changing: Mutex::new(Changing {
                last_used_at: record.last_used_at,
                revoked_at: record.revoked_at,
                unsaved: false,
            }),
            ended,
            links: AtomicU32::new(0),
        }
    }

    /// When it was last used, to the minute: now, while a connection lives that it opened.
    pub fn last_used_at(&self) -> Option<SystemTime> {
        self.used_by_links();
        self.changing().last_used_at
    }

    /// When it was revoked.
    pub fn revoked_at(&self) -> Option<SystemTime> {
        self.changing().revoked_at
    }

    /// Cancelled when the token is revoked. Whatever it let in ends then.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Counts a connection that the token opened, until the guard is dropped.
    pub fn link(self: &Arc<Self>) -> LinkGuard {
        self.links.fetch_add(1, Ordering::Relaxed);
        LinkGuard(Arc::clone(self))
    }

    /// Marks it as revoked and ends what lives by it. Returns how many connections that are.
    pub(super) fn revoke(&self, at: SystemTime) -> u32 {
        {
            let mut changing = self.changing();
            if changing.revoked_at.is_some() {
                return 0;
            }
            changing.revoked_at = Some(at);
        }
        let links = self.links.load(Ordering::Relaxed);
        self.ended.cancel();
        links
    }

    fn used_by_links(&self) {
        if self.links.load(Ordering::Relaxed) > 0 {
            self.used(SystemTime::now());
        }
    }

    fn used(&self, now: SystemTime) {
        let minute = whole_minute(now);
        let mut changing = self.changing();
        if changing.last_used_at != Some(minute) {
            changing.last_used_at = Some(minute);
            changing.unsaved = true;
        }
    }

    fn changing(&self) -> std::sync::MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that a token opened and that lives.
#[derive(Debug)]
pub struct LinkGuard(Arc<Token>);

impl Drop for LinkGuard {
    fn drop(&mut self) {
        self.0.used_by_links();
        self.0.links.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Every token.
#[derive(Debug, Default)]
pub struct Tokens {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: HashMap<Arc<str>, Arc<Token>>,
    by_position: BTreeMap<u64, Arc<Token>>,
}

impl Tokens {
    pub(super) fn load(records: Vec<TokenRecord>) -> Self {
        let tokens = Self::default();
        for record in records {
            tokens.insert(record);
        }
        tokens
    }

    pub(super) fn insert(&self, record: TokenRecord) -> Arc<Token> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let position = inner
            .by_position
            .last_key_value()
            .map_or(1, |(last, _)| last.saturating_add(1));
        let token = Arc::new(Token::new(position, record));
        inner
            .by_id
            .insert(Arc::clone(&token.id), Arc::clone(&token));
        inner.by_position.insert(position, Arc::clone(&token));
        token
    }

    /// Up to `limit` of those that were revoked, oldest first.
    pub(super) fn oldest_revoked(&self, limit: usize) -> Vec<Arc<Token>> {
        let inner = self.read();
        let tokens = inner.by_position.values();
        let revoked = tokens.filter(|token| token.ended.is_cancelled());
        revoked.take(limit).cloned().collect()
    }

    /// Knows these no more.
    pub(super) fn forget(&self, tokens: &[Arc<Token>]) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for token in tokens {
            inner.by_id.remove(&token.id);
            inner.by_position.remove(&token.position);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.read().by_id.len()
    }

    /// The token of an id.
    pub fn find(&self, id: &str) -> Option<Arc<Token>> {
        self.read().by_id.get(id).cloned()
    }

    /// Up to `limit` tokens after a position, oldest first.
    pub fn after(&self, position: u64, limit: usize, include_revoked: bool) -> Vec<Arc<Token>> {
        let inner = self.read();
        inner
            .by_position
            .range(position.saturating_add(1)..)
            .map(|(_, token)| token)
            .filter(|token| include_revoked || !token.ended.is_cancelled())
            .take(limit)
            .cloned()
            .collect()
    }

    /// The tokens of an agent that are not revoked.
    pub fn of_agent(&self, name: &str) -> Vec<Arc<Token>> {
        let inner = self.read();
        inner
            .by_position
            .values()
            .filter(|token| token.kind == TokenKind::Agent && token.name == name)
            .filter(|token| !token.ended.is_cancelled())
            .cloned()
            .collect()
    }

    /// Lets a token in, or says why not.
    pub fn authenticate(
        &self,
        presented: Option<&str>,
        wanted: TokenKind,
        now: SystemTime,
    ) -> Result<Arc<Token>, Refusal> {
        let presented = presented.ok_or(Refusal::Missing)?;
        let id = id_in(presented).ok_or(Refusal::Unknown)?;
        let token = self.find(id).ok_or(Refusal::Unknown)?;
        if !same(&digest_of(presented), &token.digest) {
            return Err(Refusal::Unknown);
        }
        if token.ended.is_cancelled() {
            return Err(Refusal::Revoked(id.to_owned()));
        }
        match (token.kind, wanted) {
            (TokenKind::Agent, TokenKind::Agent) | (TokenKind::Admin, TokenKind::Admin) => {}
            (TokenKind::Agent, TokenKind::Admin) => {
                return Err(Refusal::NotCallers(id.to_owned()));
            }
            (TokenKind::Admin, TokenKind::Agent) => {
                return Err(Refusal::NotAgents(id.to_owned()));
            }
        }
        token.used(now);
        Ok(token)
    }

    /// When tokens were used that the store does not know of yet.
    pub(super) fn take_unsaved(&self) -> Vec<(String, SystemTime)> {
        let inner = self.read();
        inner
            .by_position
            .values()
            .filter_map(|token| {
                token.used_by_links();
                let mut changing = token.changing();
                let at = changing.last_used_at.filter(|_| changing.unsaved)?;
                changing.unsaved = false;
                Some((token.id.to_string(), at))
            })
            .collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whole_minute(time: SystemTime) -> SystemTime {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    UNIX_EPOCH + Duration::from_secs(seconds - seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_in_use_while_a_connection_lives_that_it_opened() {
        let tokens = Tokens::default();
        let token = tokens.insert(TokenRecord {
            id: "1".to_owned(),
            kind: TokenKind::Agent,
            name: "web-2".to_owned(),
            digest: [0; 32],
            created_at: UNIX_EPOCH,
            last_used_at: Some(UNIX_EPOCH),
            revoked_at: None,
        });
        assert_eq!(token.last_used_at(), Some(UNIX_EPOCH));
        let link = token.link();
        assert!(token.last_used_at() > Some(UNIX_EPOCH));
        assert_eq!(tokens.take_unsaved().len(), 1);
        drop(link);
        assert!(token.last_used_at() > Some(UNIX_EPOCH));
    }
}
