//! The tokens in the store: digests only.

use std::time::SystemTime;

use rusqlite::{
    Connection, Row, ToSql, params,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};

use super::{
    AgentRecord, Store, StoreError, agents,
    time::{from_ms, to_ms},
};

/// Whom a token lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// One agent.
    Agent,
    /// Callers.
    Admin,
}

/// What is remembered of a token.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// Names it; not secret.
    pub id: String,
    /// Whom it lets in.
    pub kind: TokenKind,
    /// The agent's name, or what the token is for.
    pub name: String,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was last used, to the minute.
    pub last_used_at: Option<SystemTime>,
    /// When it was revoked.
    pub revoked_at: Option<SystemTime>,
}

impl Store {
    /// Adds a token, and the agent that it makes known, both or neither.
    pub async fn insert_token(
        &self,
        token: TokenRecord,
        agent: Option<AgentRecord>,
    ) -> Result<(), StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            if let Some(agent) = &agent {
                agents::insert(&transaction, agent)?;
            }
            transaction.execute(
                "INSERT INTO tokens (id, kind, name, digest, created_at_ms, last_used_at_ms, revoked_at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    token.id,
                    token.kind,
                    token.name,
                    token.digest,
                    to_ms(token.created_at),
                    token.last_used_at.map(to_ms),
                    token.revoked_at.map(to_ms),
                ],
            )?;
            transaction.commit()
        })
        .await
    }

    /// Writes when a token was revoked.
    pub async fn revoke_token(&self, id: String, at: SystemTime) -> Result<(), StoreError> {
        self.run(move |connection| {
            connection.execute(
                "UPDATE tokens SET revoked_at_ms = ?2 WHERE id = ?1 AND revoked_at_ms IS NULL",
                params![id, to_ms(at)],
            )?;
            Ok(())
        })
        .await
    }

    /// Forgets tokens, all or none.
    pub async fn forget_tokens(&self, ids: Vec<String>) -> Result<(), StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            {
                let mut statement =
                    transaction.prepare_cached("DELETE FROM tokens WHERE id = ?1")?;
                for id in ids {
                    statement.execute(params![id])?;
                }
            }
            transaction.commit()
        })
        .await
    }

    /// Writes when tokens were last used, in one transaction.
    pub async fn tokens_used(&self, used: Vec<(String, SystemTime)>) -> Result<(), StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            {
                let mut statement = transaction
                    .prepare_cached("UPDATE tokens SET last_used_at_ms = ?2 WHERE id = ?1")?;
                for (id, at) in used {
                    statement.execute(params![id, to_ms(at)])?;
                }
            }
            transaction.commit()
        })
        .await
    }
}

pub(super) fn all(connection: &Connection) -> Result<Vec<TokenRecord>, rusqlite::Error> {
    connection
        .prepare(
            "SELECT id, kind, name, digest, created_at_ms, last_used_at_ms, revoked_at_ms
             FROM tokens ORDER BY position",
        )?
        .query_map([], from_row)?
        .collect()
}

fn from_row(row: &Row<'_>) -> Result<TokenRecord, rusqlite::Error> {
    Ok(TokenRecord {
        id: row.get(0)?,
        kind: row.get(1)?,
        name: row.get(2)?,
        digest: row.get(3)?,
        created_at: from_ms(row.get(4)?),
        last_used_at: row.get::<_, Option<i64>>(5)?.map(from_ms),
        revoked_at: row.get::<_, Option<i64>>(6)?.map(from_ms),
    })
}

impl ToSql for TokenKind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(match self {
            Self::Agent => "agent",
            Self::Admin => "admin",
        }))
    }
}

impl FromSql for TokenKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "agent" => Ok(Self::Agent),
            "admin" => Ok(Self::Admin),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}
