//! Whether the engine can be reached, as learnt from the calls that were made.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::sync::watch;

use super::{
    error::Error,
    version::{ApiVersion, Identity},
};

/// What is known of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStatus {
    /// It answered when last asked.
    pub reachable: bool,
    /// Where it is expected.
    pub address: String,
    /// Its version, for example "20.10.24". Empty when not reachable.
    pub version: String,
    /// The API version that is spoken with it. Empty when not reachable.
    pub api_version: String,
    /// Why it is not reachable, in one sentence. Empty when it is.
    pub error: String,
}

/// Follows the status. While it is held, the engine is asked now and then.
#[derive(Debug)]
pub struct Watch {
    receiver: watch::Receiver<EngineStatus>,
    _counted: Arc<()>,
}

impl Watch {
    /// Waits until the engine counts as unreachable.
    pub(super) async fn away(&mut self) {
        if self.wait_for(|status| !status.reachable).await.is_err() {
            // Nothing more will be learnt.
            std::future::pending::<()>().await;
        }
    }
}

impl Deref for Watch {
    type Target = watch::Receiver<EngineStatus>;

    fn deref(&self) -> &Self::Target {
        &self.receiver
    }
}

impl DerefMut for Watch {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.receiver
    }
}

/// Keeps the newest status and the version agreed on.
#[derive(Debug)]
pub(super) struct Known {
    watches: Arc<()>,
    sender: watch::Sender<EngineStatus>,
    latest: Mutex<Latest>,
}

#[derive(Debug, Default)]
struct Latest {
    engine: Option<Identity>,
    learnt: Option<Instant>,
}

impl Known {
    pub(super) fn new(address: String) -> Self {
        let status = EngineStatus {
            reachable: false,
            address,
            version: String::new(),
            api_version: String::new(),
            error: "the container engine has not been asked yet".to_owned(),
        };
        Self {
            watches: Arc::default(),
            sender: watch::Sender::new(status),
            latest: Mutex::default(),
        }
    }

    pub(super) fn sender(&self) -> &watch::Sender<EngineStatus> {
        &self.sender
    }

    pub(super) fn watch(&self) -> Watch {
        Watch {
            receiver: self.sender.subscribe(),
            _counted: Arc::clone(&self.watches),
        }
    }

    /// Whether somebody holds a [`Watch`].
    pub(super) fn is_watched(&self) -> bool {
        Arc::strong_count(&self.watches) > 1
    }

    /// When anything was last learnt.
    pub(super) fn learnt(&self) -> Option<Instant> {
        self.latest().learnt
    }

    /// The API version to speak, when one is agreed on.
    pub(super) fn agreed(&self) -> Option<ApiVersion> {
        Some(self.latest().engine.as_ref()?.api.agree())
    }

    /// Whether the engine that answered last is Podman.
    pub(super) fn is_podman(&self) -> bool {
        self.latest()
            .engine
            .as_ref()
            .is_some_and(|engine| engine.podman)
    }

    /// The engine answered. Returns whether it is another one than before.
    pub(super) fn answered(&self, engine: &Identity) -> bool {
        // Held until the status is sent, or an answer and a failure could pass each other.
        let mut latest = self.latest();
        latest.learnt = Some(Instant::now());
        if latest.engine.as_ref() == Some(engine) {
            return false;
        }
        latest.engine = Some(engine.clone());
        let api = engine.api.agree().to_string();
        tracing::info!(
            engine.version = %engine.version,
            engine.api = %api,
            "the container engine answers"
        );
        self.sender.send_modify(|status| {
            status.reachable = true;
            status.version.clone_from(&engine.version);
            status.api_version = api;
            status.error.clear();
        });
        true
    }

    /// The engine did not answer. What was agreed on is forgotten: the next one may be another.
    pub(super) fn failed(&self, error: &Error) {
        let sentence = error.to_string();
        let mut latest = self.latest();
        latest.engine = None;
        latest.learnt = Some(Instant::now());
        self.sender.send_if_modified(|status| {
            if !status.reachable && status.error == sentence {
                return false;
            }
            tracing::warn!(error = %sentence, "the container engine does not answer");
            status.reachable = false;
            status.version.clear();
            status.api_version.clear();
            status.error = sentence;
            true
        });
    }

    fn latest(&self) -> std::sync::MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{sync::Barrier, thread, time::Duration};

    /// An answer and a failure at the same moment, on two threads: whichever was last, the status and
    /// what was agreed on say the same.
    #[test]
    fn an_answer_and_a_failure_at_once_leave_one_truth() {
        const ROUNDS: u64 = 2000;
        // A long sentence takes its time to write, which widens the gap that is looked for.
        let cause = "gone ".repeat(100_000);
        let mut headers = http::HeaderMap::new();
        headers.insert("api-version", "1.41".parse().unwrap());
        headers.insert("server", "Docker/20.10.24 (linux)".parse().unwrap());
        let engine = Identity::from_headers(&headers).unwrap();
        let known = Known::new("unix:///s".to_owned());
        let meet = Barrier::new(2);
        let mut apart = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    meet.wait();
                    known.failed(&Error::unreachable("unix:///s", cause.as_str()));
                    meet.wait();
                }
            });
            for round in 0..ROUNDS {
                meet.wait();
                // At another moment of the other thread's work in each round.
                let at = Instant::now() + Duration::from_micros(round % 200 * 2);
                while Instant::now() < at {
                    std::hint::spin_loop();
                }
                known.answered(&engine);
                meet.wait();
                if known.sender().borrow().reachable != known.agreed().is_some() {
                    apart.push(round);
                }
            }
        });
        assert!(apart.is_empty(), "in rounds {apart:?}");
    }
}
