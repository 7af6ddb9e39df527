//! A relay before a real engine: counts connections, keeps the first line of each request, and can hang.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
};

pub struct Relay {
    open: Arc<AtomicUsize>,
    lines: Arc<Mutex<Vec<String>>>,
    hanging: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Relay {
    pub fn start(path: &Path, engine: &'static str) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let open = Arc::new(AtomicUsize::new(0));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (count, keep) = (Arc::clone(&open), Arc::clone(&lines));
        let hanging = watch::Sender::new(false);
        let hangs = hanging.subscribe();
        let task = tokio::spawn(async move {
            loop {
                let (mut caller, _) = listener.accept().await.unwrap();
                let (count, keep) = (Arc::clone(&count), Arc::clone(&keep));
                let mut hangs = hangs.clone();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = hangs.wait_for(|now| !now).await;
                    let mut first = vec![0; 16 << 10];
                    let read = caller.read(&mut first).await.unwrap_or(0);
                    let line = String::from_utf8_lossy(&first[..read]);
                    keep.lock()
                        .unwrap()
                        .push(line.lines().next().unwrap_or_default().to_owned());
                    let mut engine = UnixStream::connect(engine).await.unwrap();
                    if engine.write_all(&first[..read]).await.is_ok() {
                        // The caller's end is looked for too, so that a close passes through.
                        let mut copying =
                            std::pin::pin!(copy_bidirectional(&mut caller, &mut engine));
                        loop {
                            let now = *hangs.borrow_and_update();
                            tokio::select! {
                                _ = &mut copying, if !now => break,
                                changed = hangs.changed() => if changed.is_err() { break },
                            }
                        }
                    }
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            open,
            lines,
            hanging,
            task,
        }
    }

    /// Takes connections and passes nothing on, or goes on with it.
    pub fn hang(&self, hang: bool) {
        self.hanging.send_replace(hang);
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
