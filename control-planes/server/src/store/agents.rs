//! The agents in the store.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    Store, StoreError,
    time::{from_ms, to_ms},
};

/// What is remembered of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRecord {
    /// Its name.
    pub name: String,
    /// When it was first known.
    pub created_at: SystemTime,
    /// Its version when it last connected.
    pub version: String,
    /// What it said it can do when it last connected.
    pub capabilities: Vec<String>,
    /// The address it last dialled from.
    pub remote_address: String,
    /// When it was last connected.
    pub last_seen_at: Option<SystemTime>,
    /// Why its last connection ended.
    pub last_disconnect: String,
}

impl AgentRecord {
    /// An agent that has never connected.
    pub fn new(name: String, created_at: SystemTime) -> Self {
        Self {
            name,
            created_at,
            version: String::new(),
            capabilities: Vec::new(),
            remote_address: String::new(),
            last_seen_at: None,
            last_disconnect: String::new(),
        }
    }
}

/// When agents were seen, to be written together.
pub type Seen = Vec<(String, SystemTime)>;

impl Store {
    /// Writes what is known of an agent. Does nothing when it was removed, also when its name has been given
    /// to another since: when an agent was first known tells which it is.
    pub async fn update_agent(&self, agent: AgentRecord) -> Result<(), StoreError> {
        let capabilities = serde_json::json!(agent.capabilities).to_string();
        self.run(move |connection| {
            connection
                .prepare_cached(
                    "UPDATE agents SET version = ?2, capabilities = ?3, remote_address = ?4,
                     last_seen_at_ms = ?5, last_disconnect = ?6
                     WHERE name = ?1 AND created_at_ms = ?7",
                )?
                .execute(params![
                    agent.name,
                    agent.version,
                    capabilities,
                    agent.remote_address,
                    agent.last_seen_at.map(to_ms),
                    agent.last_disconnect,
                    to_ms(agent.created_at),
                ])?;
            Ok(())
        })
        .await
    }

    /// Writes when agents were last seen, in one transaction.
    pub async fn agents_seen(&self, seen: Seen) -> Result<(), StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            {
                let mut statement = transaction
                    .prepare_cached("UPDATE agents SET last_seen_at_ms = ?2 WHERE name = ?1")?;
                for (name, at) in seen {
                    statement.execute(params![name, to_ms(at)])?;
                }
            }
            transaction.commit()
        })
        .await
    }

    /// Forgets an agent and revokes its tokens, both or neither. Returns whether it was there.
    pub async fn remove_agent(&self, name: String, at: SystemTime) -> Result<bool, StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                "UPDATE tokens SET revoked_at_ms = ?2
                 WHERE kind = 'agent' AND name = ?1 AND revoked_at_ms IS NULL",
                params![name, to_ms(at)],
            )?;
            let removed =
                transaction.execute("DELETE FROM agents WHERE name = ?1", params![name])?;
            transaction.commit()?;
            Ok(removed > 0)
        })
        .await
    }

    /// One agent as it is stored.
    pub async fn agent(&self, name: String) -> Result<Option<AgentRecord>, StoreError> {
        self.run(move |connection| {
            connection
                .query_row(
                    "SELECT name, created_at_ms, version, capabilities, remote_address,
                     last_seen_at_ms, last_disconnect FROM agents WHERE name = ?1",
                    params![name],
                    from_row,
                )
                .optional()
        })
        .await
    }
}

/// Adds an agent that is not there yet.
pub(super) fn insert(connection: &Connection, agent: &AgentRecord) -> Result<(), rusqlite::Error> {
    connection.execute(
        "INSERT OR IGNORE INTO agents VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            agent.name,
            to_ms(agent.created_at),
            agent.version,
            serde_json::json!(agent.capabilities).to_string(),
            agent.remote_address,
            agent.last_seen_at.map(to_ms),
            agent.last_disconnect,
        ],
    )?;
    Ok(())
}

pub(super) fn all(connection: &Connection) -> Result<Vec<AgentRecord>, rusqlite::Error> {
    connection
        .prepare(
            "SELECT name, created_at_ms, version, capabilities, remote_address,
             last_seen_at_ms, last_disconnect FROM agents ORDER BY name",
        )?
        .query_map([], from_row)?
        .collect()
}

fn from_row(row: &Row<'_>) -> Result<AgentRecord, rusqlite::Error> {
    let capabilities: String = row.get(3)?;
    Ok(AgentRecord {
        name: row.get(0)?,
        created_at: from_ms(row.get(1)?),
        version: row.get(2)?,
        capabilities: serde_json::from_str(&capabilities).unwrap_or_default(),
        remote_address: row.get(4)?,
        last_seen_at: row.get::<_, Option<i64>>(5)?.map(from_ms),
        last_disconnect: row.get(6)?,
    })
}
