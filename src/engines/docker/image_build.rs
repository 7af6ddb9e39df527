//! Building images, and loading them out of an archive.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::prelude::{BASE64_URL_SAFE, Engine as _};
use bytes::Bytes;
use serde_json::json;

use super::{
    archive::Purpose,
    ask::escaped,
    engine::Engine,
    error::{Error, Subject, clean},
    image_error::{self, ImageError},
    image_name::{Platform, Registry},
    names::{ImageRef, NetworkName},
    progress::{Followed, Message, Step, Tell, Wrong},
    registry::{Credentials, Secrets},
    upload::{Incoming, Passing, UploadRequest},
};

/// How to build.
#[derive(Debug, Clone)]
pub struct Build {
    /// Its path in the context.
    pub dockerfile: String,
    /// Names for the image.
    pub tags: Vec<ImageRef>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// The stage; empty: the last one.
    pub target: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Takes nothing from the cache.
    pub no_cache: bool,
    /// Pulls base images that are there.
    pub pull: bool,
    /// None: the host's.
    pub platform: Option<Platform>,
    /// None: no limit.
    pub memory_bytes: Option<i64>,
    /// None: no limit. In thousandths of a processor.
    pub cpu_milli: Option<u32>,
    /// None: the engine's default.
    pub network: Option<NetworkName>,
    /// By registry.
    pub credentials: Vec<(Registry, Credentials)>,
    /// How long the engine may say nothing.
    pub quiet_limit: Duration,
}

/// A build, as the engine's words about it are understood.
pub(super) struct BuildCall {
    secrets: Secrets,
    /// What the step that runs takes from somewhere else.
    image: Mutex<Option<ImageRef>>,
}

impl fmt::Debug for BuildCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BuildCall")
    }
}

impl BuildCall {
    /// What the engine meant.
    pub(super) fn failed(&self, status: u16, message: &str) -> Error {
        let message = clean(&self.secrets.hide(message));
        if status == 400 {
            return Error::Rejected { message };
        }
        // What the engine says does not always name it.
        let image = self.image.lock().unwrap_or_else(PoisonError::into_inner);
        match image.as_ref() {
            Some(image) => match image_error::with_registry(image, "", 0, message) {
                Error::Failed { message, .. } => broken(None, message),
                error => error,
            },
            None => match image_error::failed(0, message) {
                Error::Failed { message, .. } => broken(None, message),
                error => error,
            },
        }
    }

    /// A step's command ended with a code.
    pub(super) fn step_failed(&self, wrong: Wrong) -> Error {
        if wrong.message.contains("no space left on device") {
            return self.failed(0, &wrong.message);
        }
        broken(wrong.code, clean(&self.secrets.hide(&wrong.message)))
    }

    fn output(&self, text: String) -> Step {
        if let Some(image) = step_of(&text) {
            *self.image.lock().unwrap_or_else(PoisonError::into_inner) = image;
        }
        Step::Output(match self.secrets.hide(&text) {
            std::borrow::Cow::Borrowed(_) => Bytes::from(text),
            std::borrow::Cow::Owned(hidden) => Bytes::from(hidden),
        })
    }
}

fn broken(exit_code: Option<i64>, message: String) -> Error {
    ImageError::BuildFailed { exit_code, message }.into()
}

/// The image that a step begins with, when a line announces such a step.
fn step_of(line: &str) -> Option<Option<ImageRef>> {
    let (_, step) = line.strip_prefix("Step ")?.split_once(" : ")?;
    let mut words = step.split_whitespace();
    let word = words.next()?;
    let image = if word.eq_ignore_ascii_case("FROM") {
        words.find(|word| !word.starts_with("--"))
    } else {
        words.find_map(|word| word.strip_prefix("--from="))
    };
    Some(image.and_then(|image| image.parse().ok()))
}

impl Engine {
    /// Builds an image out of a context. Returns its id. Dropping it ends the build.
    pub async fn build_image(
        &self,
        build: &Build,
        context: Incoming,
        tell: Tell<'_>,
    ) -> Result<String, Error> {
        let call = BuildCall {
            secrets: Secrets::of(build.credentials.iter().map(|(_, credentials)| credentials)),
            image: Mutex::new(None),
        };
        let subject = Subject::Build(&call);
        let (path, headers) = (path(build), registries(build));
        let request = UploadRequest {
            method: "POST",
            path: &path,
            headers: &headers,
            subject,
            quiet_limit: build.quiet_limit,
        };
        let passing = Passing::start(context, Purpose::Image);
        let upload = self.upload(request, passing).await?;
        let mut followed = Followed::of_upload(self, upload, subject, build.quiet_limit);
        let mut id = None;
        while let Some(message) = followed.next().await? {
            if let Some(said) = message.aux.as_ref().and_then(|aux| aux.get("ID")) {
                id = said.as_str().map(str::to_owned);
            }
            match message {
                Message {
                    stream: Some(text), ..
                } => tell(call.output(text)),
                message => {
                    if let Some(step) = message.step() {
                        tell(step);
                    }
                }
            }
        }
        id.ok_or_else(|| broken(None, "it ended without an image".to_owned()))
    }

    /// Loads images out of an archive. Returns the id when that is one image. Dropping it ends the load.
    pub async fn load_images(
        &self,
        archive: Incoming,
        limit: Duration,
        tell: Tell<'_>,
    ) -> Result<Option<String>, Error> {
        let subject = Subject::Engine;
        let request = UploadRequest {
            method: "POST",
            path: "/images/load",
            headers: "",
            subject,
            quiet_limit: limit,
        };
        let passing = Passing::start(archive, Purpose::Image);
        let upload = self.upload(request, passing).await?;
        let mut followed = Followed::of_upload(self, upload, subject, limit);
        let mut loaded = Vec::new();
        while let Some(message) = followed.next().await? {
            let Some(text) = message.stream.clone() else {
                if let Some(step) = message.step() {
                    tell(step);
                }
                continue;
            };
            for line in text.lines() {
                let named = line.strip_prefix("Loaded image: ");
                let named = named.or_else(|| line.strip_prefix("Loaded image ID: "));
                loaded.extend(named.and_then(|name| name.trim().parse::<ImageRef>().ok()));
            }
            tell(Step::Output(Bytes::from(text)));
        }
        match loaded.as_slice() {
            [] => Err(Error::Rejected {
                message: "the archive has no image: send what SaveImage or docker save gave"
                    .to_owned(),
            }),
            [one] => Ok(Some(self.image(one).await?.0.id)),
            _ => Ok(None),
        }
    }
}

fn path(build: &Build) -> String {
    let json = |map: &BTreeMap<String, String>| escaped(json!(map).to_string());
    let mut path = format!(
        "/build?dockerfile={}&buildargs={}&labels={}&rm=1&forcerm=1",
        escaped(&build.dockerfile),
        json(&build.args),
        json(&build.labels),
    );
    for tag in &build.tags {
        path.push_str(&format!("&t={}", escaped(tag.as_str())));
    }
    if !build.target.is_empty() {
        path.push_str(&format!("&target={}", escaped(&build.target)));
    }
    if build.no_cache {
        path.push_str("&nocache=1");
    }
    if build.pull {
        path.push_str("&pull=1");
    }
    if let Some(platform) = &build.platform {
        path.push_str(&format!("&platform={}", escaped(platform.as_str())));
    }
    if let Some(bytes) = build.memory_bytes {
        // No swap on top of it.
        path.push_str(&format!("&memory={bytes}&memswap={bytes}"));
    }
    if let Some(milli) = build.cpu_milli {
        let quota = u64::from(milli) * 100;
        path.push_str(&format!("&cpuperiod=100000&cpuquota={quota}"));
    }
    if let Some(network) = &build.network {
        path.push_str(&format!("&networkmode={}", escaped(network.as_str())));
    }
    path
}

/// The header that says who the caller is to each registry.
fn registries(build: &Build) -> String {
    if build.credentials.is_empty() {
        return String::new();
    }
    let entries = build.credentials.iter().map(|(registry, credentials)| {
        let address = registry.address();
        (address.to_owned(), credentials.json(address))
    });
    let map: serde_json::Map<String, serde_json::Value> = entries.collect();
    let text = BASE64_URL_SAFE.encode(serde_json::Value::Object(map).to_string());
    format!("X-Registry-Config: {text}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_say_what_they_take() {
        let image = |line| step_of(line).map(|image| image.map(|image| image.to_string()));
        let of = |image: &str| Some(Some(image.to_owned()));
        assert_eq!(
            image("Step 1/3 : FROM r.example:5/a:1 AS x"),
            of("r.example:5/a:1")
        );
        assert_eq!(image("Step 1/3 : from --platform=linux/amd64 a"), of("a"));
        assert_eq!(image("Step 2/3 : COPY --from=b:2 /x /y"), of("b:2"));
        assert_eq!(image("Step 3/3 : RUN FROM"), Some(None));
        assert_eq!(image(" ---> 0123"), None);
    }
}
