//! A relay before a real engine: counts connections and bytes, keeps the first line of each request,
//! and treats requests as a rule says.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
};

pub const ENGINE: &str = "/var/run/docker.sock";

/// What the relay does with a request.
pub enum Treatment {
    /// Passes it on, and the answer back.
    Pass,
    /// Passes it on after this time.
    Late(Duration),
    /// Passes it on, and keeps the answer to itself.
    Withhold,
    /// Takes it, and that is all.
    Ignore,
    /// Answers it without asking the engine.
    Answer(String),
    /// Passes it on; the answer names this as the engine's API version.
    Version(String),
}

/// Says from a request's first line what is done with it.
type Rule = Box<dyn Fn(&str) -> Treatment + Send + Sync>;

#[derive(Default)]
struct Seen {
    open: AtomicUsize,
    taken: AtomicUsize,
    lines: Mutex<Vec<String>>,
}

pub struct Relay {
    seen: Arc<Seen>,
    hanging: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Passes everything on.
    pub fn start(path: &Path, engine: &'static str) -> Self {
        Self::with(path, engine, |_| Treatment::Pass)
    }

    pub fn with(
        path: &Path,
        engine: &'static str,
        rule: impl Fn(&str) -> Treatment + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let seen = Arc::new(Seen::default());
        let rule: Arc<Rule> = Arc::new(Box::new(rule));
        let shared = Arc::clone(&seen);
        let hanging = watch::Sender::new(false);
        let hangs = hanging.subscribe();
        let task = tokio::spawn(async move {
            loop {
                let (caller, _) = listener.accept().await.unwrap();
                let (seen, rule) = (Arc::clone(&shared), Arc::clone(&rule));
                let mut hangs = hangs.clone();
                seen.open.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    // Fails when either end goes away, which is what a relay is for.
                    let mut relaying = std::pin::pin!(relay(caller, engine, &rule, &seen));
                    loop {
                        let now = *hangs.borrow_and_update();
                        tokio::select! {
                            _ = &mut relaying, if !now => break,
                            changed = hangs.changed() => if changed.is_err() { break },
                        }
                    }
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            seen,
            hanging,
            task,
        }
    }

    /// Takes connections and passes nothing on, or goes on with it.
    pub fn hang(&self, hang: bool) {
        self.hanging.send_replace(hang);
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// Bytes of the engine's that callers took.
    pub fn taken(&self) -> usize {
        self.seen.taken.load(Ordering::SeqCst)
    }

    /// The first line of each request.
    pub fn lines(&self) -> Vec<String> {
        self.seen.lines.lock().unwrap().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(
    mut caller: UnixStream,
    engine: &str,
    rule: &Rule,
    seen: &Seen,
) -> std::io::Result<()> {
    let mut first = vec![0; 64 << 10];
    let read = caller.read(&mut first).await?;
    first.truncate(read);
    let text = String::from_utf8_lossy(&first);
    let line = text.lines().next().unwrap_or_default().to_owned();
    seen.lines.lock().unwrap().push(line.clone());
    let treatment = rule(&line);
    let (mut from_caller, mut to_caller) = caller.split();
    match treatment {
        Treatment::Ignore => return copy(&mut from_caller, &mut sink()).await.map(drop),
        Treatment::Late(late) => tokio::time::sleep(late).await,
        Treatment::Answer(answer) => return to_caller.write_all(answer.as_bytes()).await,
        _ => {}
    }
    let mut engine = UnixStream::connect(engine).await?;
    let (mut from_engine, mut to_engine) = engine.split();
    to_engine.write_all(&first).await?;
    let there = async {
        copy(&mut from_caller, &mut to_engine).await?;
        // The caller's end passes through too.
        to_engine.shutdown().await
    };
    let back = async {
        if let Treatment::Version(version) = &treatment {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(from_engine.read_u8().await?);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let own = head.lines().find(|line| line.starts_with("Api-Version:"));
            let head = head.replace(own.unwrap(), &format!("Api-Version: {version}"));
            to_caller.write_all(head.as_bytes()).await?;
        }
        let mut piece = vec![0; 64 << 10];
        loop {
            let read = from_engine.read(&mut piece).await?;
            match (read, &treatment) {
                (0, Treatment::Withhold) => return Ok(()),
                (0, _) => return to_caller.shutdown().await,
                (_, Treatment::Withhold) => {}
                _ => to_caller.write_all(&piece[..read]).await?,
            }
            seen.taken.fetch_add(read, Ordering::SeqCst);
        }
    };
    tokio::try_join!(there, back).map(drop)
}
