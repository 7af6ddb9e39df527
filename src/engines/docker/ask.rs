//! Calls whose answer is one JSON value, read whole and within bounds.
//!
//! bollard reads answers of any length and refuses an answer with a word that it does not know; these calls
//! are for what grows with the host, and for what may take long.

use std::{collections::BTreeMap, collections::HashMap, pin::pin, time::Duration};

use bytes::BytesMut;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use tokio::time::timeout;

use super::{
    engine::Engine,
    error::{Error, Subject},
    stream::{Stream, StreamRequest},
    version::ApiVersion,
};

/// The longest answer that is taken.
const MOST: usize = 32 << 20;

/// How long an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// As long as a call that waits for nothing.
    Prompt,
    /// As long as the engine is there.
    Long,
}

/// A call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) method: &'static str,
    /// Path and query, made of parsed names and escaped values.
    pub(super) path: &'a str,
    /// JSON.
    pub(super) body: &'a str,
    pub(super) subject: Subject<'a>,
    pub(super) patience: Patience,
}

impl<'a> Ask<'a> {
    pub(super) fn get(path: &'a str, subject: Subject<'a>) -> Self {
        Self {
            method: "GET",
            path,
            body: "",
            subject,
            patience: Patience::Prompt,
        }
    }

    pub(super) fn post(path: &'a str, body: &'a str, subject: Subject<'a>) -> Self {
        Self {
            method: "POST",
            body,
            ..Self::get(path, subject)
        }
    }

    pub(super) fn delete(path: &'a str, subject: Subject<'a>) -> Self {
        Self {
            method: "DELETE",
            ..Self::get(path, subject)
        }
    }

    pub(super) fn long(self) -> Self {
        Self {
            patience: Patience::Long,
            ..self
        }
    }
}

impl Engine {
    /// Asks, and understands the answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T, Error> {
        understood(&self.ask_bytes(ask).await?)
    }

    /// Asks for something of which only that it was done matters.
    pub(super) async fn order(&self, ask: Ask<'_>) -> Result<(), Error> {
        self.ask_bytes(ask).await.map(drop)
    }

    /// Asks. Returns the answer's content.
    pub(super) async fn ask_bytes(&self, ask: Ask<'_>) -> Result<BytesMut, Error> {
        let asked = match ask.patience {
            Patience::Prompt => self.asked(ask, self.deadlines().call).await,
            Patience::Long => self.while_there(self.asked(ask, Duration::MAX)).await,
        };
        self.probe_while_away();
        asked
    }

    async fn asked(&self, ask: Ask<'_>, deadline: Duration) -> Result<BytesMut, Error> {
        let request = StreamRequest {
            method: ask.method,
            path: ask.path,
            body: ask.body,
            upgrade: false,
            subject: ask.subject,
            deadline,
        };
        let mut stream = Stream::open(self.transport(), request).await?;
        let reading = async {
            let mut content = BytesMut::new();
            while let Some(bytes) = stream.next().await? {
                if content.len() + bytes.len() > MOST {
                    let most = MOST >> 20;
                    return Err(Error::Protocol(format!("it is longer than {most} MiB")));
                }
                content.extend_from_slice(&bytes);
            }
            Ok(content)
        };
        let late = || format!("no answer in {} s", deadline.as_secs_f32());
        timeout(deadline, reading)
            .await
            .unwrap_or_else(|_| Err(self.transport().broke(late())))
    }

    /// Does what may take any time, as long as the engine is there: when it does not answer others, it is asked.
    pub(super) async fn while_there<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut work = pin!(work);
        // Most of it is done soon, and then nobody has to be asked.
        if let Ok(done) = timeout(self.deadlines().probe, &mut work).await {
            return done;
        }
        let mut status = self.watch();
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = status.away() => {
                    self.transport().probe().await?;
                }
            }
        }
    }

    /// Fails when the engine is too old for something.
    pub(super) async fn needs(&self, what: &'static str, needs: ApiVersion) -> Result<(), Error> {
        let api = self.transport().api_version().await?;
        if api >= needs {
            return Ok(());
        }
        Err(Error::TooOld { what, needs, api })
    }
}

/// What an answer says.
pub(super) fn understood<T: DeserializeOwned>(content: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(content).map_err(|error| Error::Protocol(error.to_string()))
}

/// What the engine writes as null is empty.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A value that may stand in a query, whatever it is.
pub(super) fn escaped(value: impl AsRef<[u8]>) -> String {
    percent_encode(value.as_ref(), NON_ALPHANUMERIC).to_string()
}

/// The engine's filters.
#[derive(Debug, Default, Clone)]
pub(super) struct Filters(BTreeMap<&'static str, Vec<String>>);

impl Filters {
    /// Adds one.
    pub(super) fn add(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.entry(name).or_default().push(value.into());
    }

    /// Adds labels; an empty value fits any.
    pub(super) fn labels(&mut self, name: &'static str, labels: &HashMap<String, String>) {
        for (key, value) in labels {
            match value.as_str() {
                "" => self.add(name, key.as_str()),
                value => self.add(name, format!("{key}={value}")),
            }
        }
    }

    /// As a part of a query.
    pub(super) fn query(&self) -> String {
        let json = serde_json::to_string(&self.0).unwrap_or_default();
        format!("filters={}", escaped(json))
    }
}
