//! Opens the SQLite file and brings its schema up to date, forward only.

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{DataDir, StoreError, data_dir::sync_dir};

const FILE: &str = "turbopanel.db";

/// "TPcp": tells this program's files from other SQLite files.
const APPLICATION_ID: i64 = 0x5450_6370;

/// Step n brings schema n to n + 1. Steps are never changed once released.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE agents (
        name TEXT PRIMARY KEY,
        created_at_ms INTEGER NOT NULL,
        version TEXT NOT NULL,
        capabilities TEXT NOT NULL,
        remote_address TEXT NOT NULL,
        last_seen_at_ms INTEGER,
        last_disconnect TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE tokens (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL CHECK (kind IN ('agent', 'admin')),
        name TEXT NOT NULL,
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        created_at_ms INTEGER NOT NULL,
        last_used_at_ms INTEGER,
        revoked_at_ms INTEGER
    ) STRICT;
    CREATE INDEX tokens_by_name ON tokens (kind, name);
"];

/// Opens the file of `dir`, checks it and migrates it.
pub(super) fn open(dir: &DataDir) -> Result<Connection, StoreError> {
    let path = dir.private_file(FILE)?;
    let unusable = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            StoreError::Unusable {
                path: path.clone(),
                what: format!("damaged ({error})"),
            }
        }
        _ => StoreError::Sqlite(error),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    // The directory may lie behind a symbolic link; the file itself may not be one.
    let real = std::fs::canonicalize(dir.path())
        .map(|dir| dir.join(FILE))
        .map_err(|source| StoreError::Directory {
            path: path.clone(),
            source,
        })?;
    let mut connection = Connection::open_with_flags(&real, flags).map_err(unusable)?;
    connection
        .execute_batch("PRAGMA trusted_schema = OFF; PRAGMA busy_timeout = 5000;")
        .map_err(unusable)?;
    let checked: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(unusable)?;
    if checked != "ok" {
        return Err(StoreError::Unusable {
            path,
            what: format!("damaged ({checked})"),
        });
    }
    let known = MIGRATIONS.len() as i64;
    let found: i64 = pragma(&connection, "user_version").map_err(unusable)?;
    let application: i64 = pragma(&connection, "application_id").map_err(unusable)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(unusable)?;
    if application != APPLICATION_ID && (application != 0 || tables != 0) {
        return Err(StoreError::Unusable {
            path,
            what: "the file of another program".to_owned(),
        });
    }
    if found > known {
        return Err(StoreError::Newer { path, found, known });
    }
    // FULL in WAL mode synchronises the log at every commit.
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
        )
        .map_err(unusable)?;
    for (version, step) in (1i64..).zip(MIGRATIONS) {
        if version > found {
            migrate(&mut connection, version, step).map_err(StoreError::Sqlite)?;
        }
    }
    sync_dir(dir.path()).map_err(|source| StoreError::Directory {
        path: dir.path().to_owned(),
        source,
    })?;
    Ok(connection)
}

fn pragma(connection: &Connection, name: &str) -> Result<i64, rusqlite::Error> {
    connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
}

/// One step, whole or not at all: the version is part of the transaction.
fn migrate(connection: &mut Connection, version: i64, step: &str) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(step)?;
    transaction.execute_batch(&format!(
        "PRAGMA user_version = {version}; PRAGMA application_id = {APPLICATION_ID};"
    ))?;
    transaction.commit()
}
