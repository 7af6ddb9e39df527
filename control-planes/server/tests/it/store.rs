//! The state on disk: kill -9 at any moment, two processes, newer schemas, damage.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use futures_util::FutureExt;
use rusqlite::Connection;
use tempfile::TempDir;
use turbopanel_control_plane::{
    registry::{Registry, tokens::MAX_TOKENS},
    serve::{Plane, ServeConfig},
    store::{AgentRecord, Store, TokenKind, TokenRecord},
};
use turbopanel_tunnel::Methods;

use crate::plane::{TestPlane, eventually};

const CHILD: &str = "TURBOPANEL_TEST_STORE";

async fn open(dir: &Path) -> Arc<Registry> {
    let opened = Registry::open(dir, Methods::default(), None).await;
    Arc::new(opened.unwrap().0)
}

async fn bind_error(dir: &Path) -> String {
    let mut config = ServeConfig::new(dir);
    config.listen.set_port(0);
    Plane::bind(config).await.unwrap_err().to_string()
}

/// Not a test by itself: the process that the test below kills.
#[tokio::test]
#[ignore = "run by acknowledged_writes_survive_kill_9 in a process of its own"]
async fn child_that_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD) else {
        return;
    };
    let registry = open(Path::new(&dir)).await;
    for number in 0.. {
        let name = format!("agent-{number}-{}", std::process::id());
        let (token, _) = registry
            .create_token(TokenKind::Agent, &name)
            .await
            .unwrap();
        if number % 3 == 0 {
            registry.revoke_token(&token.id).await.unwrap();
            println!("revoked {}", token.id);
        } else {
            println!("made {}", token.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_kill_9() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged = Vec::new();
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::child_that_writes_until_it_is_killed"])
            .args(["--ignored", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            let said = line
                .split_once(' ')
                .filter(|(verb, _)| ["made", "revoked"].contains(verb));
            if let Some((verb, id)) = said {
                acknowledged.push((verb == "revoked", id.to_owned()));
                seen += 1;
            }
            if seen == 17 * round {
                // SIGKILL; what it wrote after this line was read counts too.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= 17 * round, "only {seen} writes in round {round}");
        let registry = open(dir.path()).await;
        for (revoked, id) in &acknowledged {
            let token = registry
                .tokens
                .find(id)
                .unwrap_or_else(|| panic!("{id} is lost"));
            assert_eq!(token.revoked_at().is_some(), *revoked, "{id}");
            assert!(registry.agents.find(&token.name).is_some());
        }
        assert!(registry.tokens.count() <= acknowledged.len() + round * 2);
        let checked: String = Connection::open(dir.path().join("turbopanel.db"))
            .unwrap()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(checked, "ok");
        let closing = registry;
        drop(closing);
        eventually("the directory is unlocked", async || {
            std::fs::File::open(dir.path().join("lock"))
                .unwrap()
                .try_lock()
                .is_ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_refused() {
    let plane = TestPlane::start().await;
    let error = bind_error(plane.dir()).await;
    let holder = format!(
        "in use by another `turbopanel serve` (process {})",
        std::process::id()
    );
    assert!(
        error.contains(&holder) && error.contains("--data-dir"),
        "{error}"
    );
    // The first one is not harmed.
    plane.agent("local").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_untouched() {
    let plane = TestPlane::start().await;
    let dir = plane.stop().await.unwrap();
    let file = dir.path().join("turbopanel.db");
    let set = |version: i64| {
        let connection = Connection::open(&file).unwrap();
        connection
            .pragma_update(None, "user_version", version)
            .unwrap();
    };
    set(99);
    let error = bind_error(dir.path()).await;
    assert!(error.contains("newer turbopanel (schema 99"), "{error}");
    set(1);
    TestPlane::start_in(dir.path()).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_ours_is_refused() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("turbopanel.db");
    std::fs::write(
        &file,
        "not a database, and long enough to be looked at ".repeat(100),
    )
    .unwrap();
    let error = bind_error(dir.path()).await;
    assert!(error.contains("damaged"), "{error}");
    std::fs::remove_file(&file).unwrap();
    Connection::open(&file)
        .unwrap()
        .execute_batch("CREATE TABLE other (x)")
        .unwrap();
    let error = bind_error(dir.path()).await;
    assert!(error.contains("another program"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_made_is_told() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = bind_error(&file.join("state")).await;
    assert!(error.contains("--data-dir"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_removed_agent_is_not_written_to_the_next_of_its_name() {
    let dir = TempDir::new().unwrap();
    let (store, _, _) = Store::open(dir.path()).await.unwrap();
    let token = |id: &str| TokenRecord {
        id: id.to_owned(),
        kind: TokenKind::Agent,
        name: "web-2".to_owned(),
        digest: [0; 32],
        created_at: UNIX_EPOCH,
        last_used_at: None,
        revoked_at: None,
    };
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let mut old = AgentRecord::new("web-2".to_owned(), at(1));
    let new = AgentRecord::new("web-2".to_owned(), at(2));
    store
        .insert_token(token("1"), Some(old.clone()))
        .await
        .unwrap();
    store.remove_agent("web-2".to_owned(), at(2)).await.unwrap();
    store
        .insert_token(token("2"), Some(new.clone()))
        .await
        .unwrap();
    old.last_disconnect = "it was removed".to_owned();
    store.update_agent(old).await.unwrap();
    let stored = store.agent("web-2".to_owned()).await.unwrap();
    assert_eq!(stored, Some(new));
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_tokens_make_room_for_new_ones() {
    let dir = TempDir::new().unwrap();
    let registry = open(dir.path()).await;
    let (kept, secret) = registry
        .create_token(TokenKind::Admin, "kept")
        .await
        .unwrap();
    drop(registry);
    eventually("the directory is unlocked", async || {
        Store::open(dir.path()).await.is_ok()
    })
    .await;
    let mut connection = Connection::open(dir.path().join("turbopanel.db")).unwrap();
    let transaction = connection.transaction().unwrap();
    for number in 1..MAX_TOKENS {
        transaction
            .execute(
                "INSERT INTO tokens (id, kind, name, digest, created_at_ms, revoked_at_ms)
                 VALUES (?1, 'agent', 'gone', zeroblob(32), 1, 2)",
                [format!("{number:016x}")],
            )
            .unwrap();
    }
    transaction.commit().unwrap();
    drop(connection);
    let registry = open(dir.path()).await;
    assert_eq!(registry.tokens.count(), MAX_TOKENS);
    registry
        .create_token(TokenKind::Agent, "web-2")
        .await
        .unwrap();
    assert!(registry.tokens.count() < MAX_TOKENS);
    let admin = TokenKind::Admin;
    let now = std::time::SystemTime::now();
    let known = registry
        .tokens
        .authenticate(Some(secret.reveal()), admin, now);
    assert_eq!(known.unwrap().id, kept.id, "a valid one is not forgotten");
}

/// Begins a change, as a caller does, and goes away before it is acknowledged.
fn begin_and_leave(change: impl Future) {
    assert!(
        change.now_or_never().is_none(),
        "it was acknowledged at once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_in_the_middle_of_a_change_leaves_it_whole() {
    let dir = TempDir::new().unwrap();
    let registry = open(dir.path()).await;
    let (admin, secret) = registry
        .create_token(TokenKind::Admin, "laptop")
        .await
        .unwrap();
    registry
        .create_token(TokenKind::Agent, "web-1")
        .await
        .unwrap();

    begin_and_leave(registry.create_token(TokenKind::Agent, "web-2"));
    eventually("the agent is known", async || {
        registry.agents.find("web-2").is_some() && registry.tokens.count() == 3
    })
    .await;

    begin_and_leave(registry.revoke_token(&admin.id));
    eventually("the token is refused", async || {
        let now = std::time::SystemTime::now();
        let presented = Some(secret.reveal());
        let tokens = &registry.tokens;
        tokens
            .authenticate(presented, TokenKind::Admin, now)
            .is_err()
    })
    .await;

    begin_and_leave(registry.remove_agent("web-1"));
    eventually("the agent is gone", async || {
        registry.agents.find("web-1").is_none()
    })
    .await;

    // What was begun is on disk as well.
    drop(registry);
    let reopened = async || {
        Registry::open(dir.path(), Methods::default(), None)
            .await
            .ok()
    };
    let mut again = None;
    eventually("the store is closed", async || {
        again = reopened().await;
        again.is_some()
    })
    .await;
    let (registry, _) = again.unwrap();
    assert!(registry.agents.find("web-1").is_none());
    assert!(registry.agents.find("web-2").is_some());
    assert!(
        registry
            .tokens
            .find(&admin.id)
            .unwrap()
            .revoked_at()
            .is_some()
    );
}
