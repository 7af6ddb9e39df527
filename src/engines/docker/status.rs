//! Whether the engine can be reached, as learnt from the calls that were made.

use std::{
    sync::{Mutex, PoisonError},
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

/// Keeps the newest status and the version agreed on.
#[derive(Debug)]
pub(super) struct Known {
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
            sender: watch::Sender::new(status),
            latest: Mutex::default(),
        }
    }

    pub(super) fn sender(&self) -> &watch::Sender<EngineStatus> {
        &self.sender
    }

    /// When anything was last learnt.
    pub(super) fn learnt(&self) -> Option<Instant> {
        self.latest().learnt
    }

    /// The API version to speak, when one is agreed on.
    pub(super) fn agreed(&self) -> Option<ApiVersion> {
        Some(self.latest().engine.as_ref()?.api.agree())
    }

    /// The engine answered. Returns whether it is another one than before.
    pub(super) fn answered(&self, engine: &Identity) -> bool {
        let mut latest = self.latest();
        latest.learnt = Some(Instant::now());
        if latest.engine.as_ref() == Some(engine) {
            return false;
        }
        latest.engine = Some(engine.clone());
        drop(latest);
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
        let mut latest = self.latest();
        latest.engine = None;
        latest.learnt = Some(Instant::now());
        drop(latest);
        let sentence = error.to_string();
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
