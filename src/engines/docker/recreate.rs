//! Puts a new container in an old one's place, with the same settings.
//!
//! ```text
//!  pull ─▶ create NAME.new-X ─▶ stop old ─▶ old is NAME.old-X ─▶ new is NAME ─▶ start ─▶ healthy ─▶ remove old
//!                  └────────────── whatever fails: remove new, old is NAME again, start old ◀───┘
//! ```
//! The way back needs nothing but what the engine shows: the new container carries the old one's id, and whether that
//! ran. So one that was left in the middle by an agent that died is taken back by the next.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::excerpt::{SENTENCE, excerpt};

use super::{
    ask::{Ask, escaped},
    container::State,
    engine::Engine,
    error::{Error, Subject},
    names::{ContainerName, ContainerRef, ImageRef},
    progress::{Step, Tell},
    recreate_back::{Pair, short},
    recreate_settings::{settings, text},
    registry::{Credentials, Pull},
};

/// The time between two looks at the new container.
const LOOK: Duration = Duration::from_millis(250);

/// What is to be recreated, and how.
#[derive(Debug, Clone)]
pub struct Recreate {
    /// Which.
    pub container: ContainerRef,
    /// On another image than its own.
    pub image: Option<ImageRef>,
    /// Pulls the image first.
    pub pull: bool,
    /// For the pull. None: anonymous.
    pub credentials: Option<Credentials>,
    /// For the pull: how long the engine may say nothing.
    pub quiet_limit: Duration,
    /// Also when the image is the same.
    pub force: bool,
    /// For stopping the old one.
    pub grace: Option<Duration>,
    /// How long the new one must run when it has no health check.
    pub settle: Duration,
    /// How long it may take to become healthy.
    pub health_limit: Duration,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recreated {
    /// The container that is there now.
    pub container_id: String,
    /// Its image.
    pub image_id: String,
    /// Nothing had to be done.
    pub unchanged: bool,
    /// What the engine warned of.
    pub warnings: Vec<String>,
}

/// Why a container was not recreated.
#[derive(Debug, thiserror::Error)]
pub enum RecreateError {
    /// The new one did not become healthy.
    #[error(
        "the new container in the place of {container} did not become healthy ({what}); the old one is back"
    )]
    Unhealthy {
        /// Its name.
        container: String,
        /// What was seen.
        what: String,
    },
    /// It failed, and so did the way back.
    #[error(
        "container {container} could not be brought back: look at {old}, which is the old one, and at {new}, which is the new one ({})",
        excerpt(message, SENTENCE)
    )]
    NotRolledBack {
        /// Its name.
        container: String,
        /// The old one's id.
        old: String,
        /// The new one's id.
        new: String,
        /// What was seen.
        message: String,
    },
}

impl Engine {
    /// Recreates a container. `end` asks to stop; whatever was changed by then is taken back.
    pub async fn recreate(
        &self,
        recreate: &Recreate,
        end: impl Future<Output = ()>,
        tell: Tell<'_>,
    ) -> Result<Recreated, Error> {
        tokio::pin!(end);
        let _held = self.hold(&recreate.container).await?;
        self.take_back_left(&recreate.container, tell).await?;
        let old = self.shown(&recreate.container).await?;
        let (name, image) = recreatable(&recreate.container, &old)?;
        let image = recreate.image.clone().map_or(image, Ok)?;
        if recreate.pull && image.parts().is_some() {
            let pull = Pull {
                image: image.clone(),
                platform: None,
                credentials: recreate.credentials.clone(),
                quiet_limit: recreate.quiet_limit,
            };
            tokio::select! {
                biased;
                () = &mut end => return Err(ended()),
                pulled = self.pull_image(&pull, tell) => drop(pulled?),
            }
        }
        let image_id = self.image(&image).await?.0.id;
        let old_image = text(&old, "/Image");
        let same = old_image == image_id && text(&old, "/Config/Image") == image.as_str();
        if same && !recreate.force {
            return Ok(Recreated {
                container_id: text(&old, "/Id").to_owned(),
                image_id,
                unchanged: true,
                warnings: Vec::new(),
            });
        }
        let (pair, warnings) = self.place(&name, &old, &image).await?;
        let outcome = self.replace(&pair, recreate, &mut end, tell).await;
        let Err(error) = outcome else {
            tell(step("removing the old container"));
            // What is left of it is taken away by the next recreation.
            if let Err(error) = self.remove(&pair.old, true, false).await {
                tracing::warn!(container = %pair.name, %error, "the old container could not be removed");
            }
            return Ok(Recreated {
                container_id: pair.new.to_string(),
                image_id,
                unchanged: false,
                warnings,
            });
        };
        tell(step("rolling back"));
        match self.take_back(&pair).await {
            Ok(()) => Err(error),
            Err(failed) => Err(RecreateError::NotRolledBack {
                container: pair.name.to_string(),
                old: pair.old.to_string(),
                new: pair.new.to_string(),
                message: format!("{failed}; and before: {error}"),
            }
            .into()),
        }
    }

    async fn shown(&self, container: &ContainerRef) -> Result<Value, Error> {
        let path = format!("/containers/{container}/json");
        let subject = Subject::Container(container.as_str());
        self.ask(Ask::get(&path, subject)).await
    }

    /// Makes the new container beside the old one.
    async fn place(
        &self,
        name: &ContainerName,
        old: &Value,
        image: &ImageRef,
    ) -> Result<(Pair, Vec<String>), Error> {
        let id = parsed::<ContainerRef>(text(old, "/Id"))?;
        let brought = match parsed::<ImageRef>(text(old, "/Image")) {
            Ok(image) => match self.image(&image).await {
                Ok((_, json)) => super::ask::understood(&json)?,
                // Then nothing tells what it brought, and all of it is taken for the container's own.
                Err(Error::ImageNotFound { .. }) => json!({}),
                Err(error) => return Err(error),
            },
            Err(_) => json!({}),
        };
        let ran = matches!(text(old, "/State/Status"), "running" | "restarting");
        let mark = format!("{id} {}", if ran { "ran" } else { "stood" });
        let made = settings(old, &brought, image.as_str(), &mark);
        let beside = aside(name, "new", &id)?;
        let subject = Subject::Creation {
            name: Some(beside.as_str()),
            image: image.as_str(),
            network: None,
        };
        let path = format!("/containers/create?name={}", escaped(beside.as_str()));
        let body = made.body.to_string();
        let created: Value = self.ask(Ask::post(&path, &body, subject)).await?;
        let pair = Pair {
            name: name.clone(),
            old: id,
            new: parsed(text(&created, "/Id"))?,
            ran,
        };
        for (network, place) in &made.networks {
            let path = format!("/networks/{}/connect", escaped(network));
            let body = json!({"Container": pair.new.as_str(), "EndpointConfig": place}).to_string();
            let subject = Subject::Container(pair.new.as_str());
            if let Err(error) = self.order(Ask::post(&path, &body, subject)).await {
                self.remove(&pair.new, true, false).await?;
                return Err(error);
            }
        }
        let warnings = created.get("Warnings").and_then(Value::as_array);
        let warnings = warnings.into_iter().flatten().filter_map(Value::as_str);
        let warnings = warnings.map(str::to_owned).collect();
        Ok((pair, warnings))
    }

    /// The way there. Each step is done whole: a step that is left in the middle could still happen later.
    async fn replace(
        &self,
        pair: &Pair,
        recreate: &Recreate,
        mut end: impl Future<Output = ()> + Unpin,
        tell: Tell<'_>,
    ) -> Result<(), Error> {
        if pair.ran {
            tell(step("stopping the old container"));
            self.stop(&pair.old, recreate.grace).await?;
        }
        self.rename(&pair.old, &aside(&pair.name, "old", &pair.old)?)
            .await?;
        self.rename(&pair.new, &pair.name).await?;
        if !pair.ran {
            return Ok(());
        }
        tell(step("starting the new container"));
        self.start(&pair.new).await?;
        tell(step("waiting until it is healthy"));
        tokio::select! {
            biased;
            () = &mut end => Err(ended()),
            healthy = self.healthy(pair, recreate) => healthy,
        }
    }

    async fn healthy(&self, pair: &Pair, recreate: &Recreate) -> Result<(), Error> {
        let unhealthy = |what: String| {
            Error::from(RecreateError::Unhealthy {
                container: pair.name.to_string(),
                what,
            })
        };
        let began = Instant::now();
        let looking = async {
            loop {
                let seen = self.container(&pair.new).await?;
                let state = seen.container.state;
                if state != State::Running || seen.restart_count > 0 {
                    let state = state.as_str();
                    let what = format!("it is {state}, its exit code was {}", seen.exit_code);
                    return Err(unhealthy(what));
                }
                match seen.health.as_str() {
                    "healthy" => return Ok(()),
                    "unhealthy" => return Err(unhealthy("its health check fails".to_owned())),
                    "" if began.elapsed() >= recreate.settle => return Ok(()),
                    _ => sleep(LOOK).await,
                }
            }
        };
        let limit = recreate.health_limit.max(recreate.settle + LOOK * 4);
        timeout(limit, looking).await.unwrap_or_else(|_| {
            let limit = limit.as_secs();
            Err(unhealthy(format!("it was not healthy within {limit} s")))
        })
    }
}

fn step(status: &str) -> Step {
    Step::said(status)
}

fn ended() -> Error {
    Error::Ended
}

/// The name of a container that makes room.
fn aside(name: &ContainerName, what: &str, old: &ContainerRef) -> Result<ContainerName, Error> {
    let text = format!("{name}.{what}-{}", short(old));
    text.parse().map_err(|_| Error::Rejected {
        message: "the container's name is too long to be recreated: rename it first".to_owned(),
    })
}

fn parsed<T: std::str::FromStr<Err = super::names::NameError>>(text: &str) -> Result<T, Error> {
    text.parse()
        .map_err(|error: super::names::NameError| Error::Protocol(error.to_string()))
}

/// Its name and its image, when it can be recreated and taken back.
#[allow(clippy::type_complexity)]
fn recreatable(
    asked: &ContainerRef,
    old: &Value,
) -> Result<(ContainerName, Result<ImageRef, Error>), Error> {
    let refuse = |message: &str| {
        Err(Error::StateConflict {
            container: asked.to_string(),
            message: message.to_owned(),
        })
    };
    match text(old, "/State/Status") {
        "running" | "restarting" | "exited" | "created" => {}
        "paused" => return refuse("it is paused: unpause it first"),
        other => return refuse(&format!("it is {other}: remove it")),
    }
    if old.pointer("/HostConfig/AutoRemove") == Some(&Value::Bool(true)) {
        return refuse(
            "it is removed when it ends, so there would be no way back: create it anew by hand",
        );
    }
    let name = parsed(text(old, "/Name").trim_start_matches('/'))?;
    let image = text(old, "/Config/Image");
    let image = image.parse().map_err(|_| Error::Rejected {
        message: "its image has no name that can be asked for: say one".to_owned(),
    });
    Ok((name, image))
}
