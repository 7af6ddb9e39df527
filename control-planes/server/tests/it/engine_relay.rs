//! Stands between an agent and the container engine, and counts how often a log was followed.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

pub struct EngineRelay {
    logs: Arc<AtomicUsize>,
    /// As `DOCKER_HOST` names it.
    pub address: String,
}

impl EngineRelay {
    /// Listens in this folder.
    pub fn start(dir: &Path) -> Self {
        let path = dir.join("relay.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let logs = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&logs);
        // Ends with the test's process: nothing connects any more.
        thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                let far = UnixStream::connect("/var/run/docker.sock").unwrap();
                let (near2, far2) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let count = Arc::clone(&count);
                thread::spawn(move || {
                    pass(near, far, |bytes| {
                        // Of files that the agent reads by itself, it asks the engine only for the container's end.
                        let has = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
                        if has(b"/logs?") || has(b"/wait?") {
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                });
                thread::spawn(move || pass(far2, near2, |_| {}));
            }
        });
        let address = format!("unix://{}", path.display());
        Self { logs, address }
    }

    /// How often a log was followed.
    pub fn logs(&self) -> usize {
        self.logs.load(Ordering::SeqCst)
    }
}

fn pass(mut from: UnixStream, mut to: UnixStream, saw: impl Fn(&[u8])) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(length) = from.read(&mut buffer) {
        saw(&buffer[..length]);
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
