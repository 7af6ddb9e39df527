//! Pulling from registries and pushing to them, as far as the engine does it.
//!
//! Credentials are sent with the one call, in a header. A registry may repeat them in its errors: they are
//! hidden in whatever the engine says.

use std::{borrow::Cow, fmt, time::Duration};

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, Engine as _};
use serde_json::json;

use super::{
    ask::escaped,
    engine::Engine,
    error::{Error, Subject, clean},
    image_error::{self, ImageError},
    image_name::Platform,
    names::ImageRef,
    progress::{Followed, Message, Step, Tell},
    stream::{Stream, StreamRequest},
    version::ApiVersion,
};

/// Secrets this short would hide every other word.
const SHORTEST: usize = 4;

/// From here on an engine that was asked for a platform has it or fails, and an image may have several.
const PICKS_PLATFORM: ApiVersion = ApiVersion::new(1, 48);

/// Who the caller is to a registry.
#[derive(Clone)]
pub enum Credentials {
    /// By name and password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// By a token that a login gave.
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

impl Credentials {
    pub(super) fn json(&self, registry: &str) -> serde_json::Value {
        match self {
            Self::Password { username, password } => {
                json!({"username": username, "password": password, "serveraddress": registry})
            }
            Self::IdentityToken(token) => {
                json!({"identitytoken": token, "serveraddress": registry})
            }
        }
    }
}

/// What must not be seen in what the engine says.
#[derive(Default, Clone)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn of<'a>(credentials: impl IntoIterator<Item = &'a Credentials>) -> Self {
        let mut secrets = Vec::new();
        for credentials in credentials {
            match credentials {
                Credentials::Password { username, password } => {
                    // As a registry gets it.
                    let basic = format!("{username}:{password}");
                    secrets.push(BASE64_STANDARD.encode(&basic));
                    secrets.push(BASE64_URL_SAFE.encode(&basic));
                    secrets.push(escaped(password));
                    secrets.push(password.clone());
                }
                Credentials::IdentityToken(token) => {
                    secrets.push(escaped(token));
                    secrets.push(token.clone());
                }
            }
        }
        secrets.retain(|secret| secret.len() >= SHORTEST);
        Self(secrets)
    }

    /// The text without them.
    pub(super) fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), "(hidden)"));
            }
        }
        text
    }
}

/// What the engine does with a registry.
pub(super) struct RegistryCall<'a> {
    pub(super) image: &'a ImageRef,
    pub(super) platform: &'a str,
    pub(super) secrets: Secrets,
}

impl fmt::Debug for RegistryCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryCall")
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

impl RegistryCall<'_> {
    /// What the engine meant.
    pub(super) fn failed(&self, status: u16, message: &str) -> Error {
        let message = clean(&self.secrets.hide(message));
        image_error::with_registry(self.image, self.platform, status, message)
    }

    /// Tells what a message says of the progress.
    fn tell(&self, message: Message, tell: Tell<'_>) {
        if let Some(Step::Progress {
            item,
            status,
            current,
            total,
        }) = message.step()
        {
            tell(Step::Progress {
                item: self.secrets.hide(&item).into_owned(),
                status: self.secrets.hide(&status).into_owned(),
                current,
                total,
            });
        }
    }
}

/// What to pull.
#[derive(Debug, Clone)]
pub struct Pull {
    /// The image.
    pub image: ImageRef,
    /// None: the host's.
    pub platform: Option<Platform>,
    /// None: anonymous.
    pub credentials: Option<Credentials>,
    /// How long the engine may say nothing.
    pub quiet_limit: Duration,
}

/// What was pulled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulled {
    /// The image's id.
    pub image_id: String,
    /// As the registry knows it; empty when it did not say.
    pub digest: String,
    /// The host had it already.
    pub unchanged: bool,
}

/// What to push.
#[derive(Debug, Clone)]
pub struct Push {
    /// The image.
    pub image: ImageRef,
    /// None: anonymous.
    pub credentials: Option<Credentials>,
    /// How long the engine may say nothing.
    pub quiet_limit: Duration,
}

impl Engine {
    /// Pulls an image. Dropping it ends the pull.
    pub async fn pull_image(&self, pull: &Pull, tell: Tell<'_>) -> Result<Pulled, Error> {
        let image = &pull.image;
        let parts = image.parts().ok_or_else(|| Error::Rejected {
            message: "an image is pulled by its name, and this is an id".to_owned(),
        })?;
        let before = match self.image(image).await {
            Ok((detail, _)) => Some(detail.id),
            Err(Error::ImageNotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let platform = pull.platform.as_ref().map_or("", Platform::as_str);
        let path = format!(
            "/images/create?fromImage={}&tag={}&platform={}",
            escaped(parts.repository),
            escaped(parts.wanted()),
            escaped(platform)
        );
        let call = RegistryCall {
            image,
            platform,
            secrets: Secrets::of(&pull.credentials),
        };
        let headers = auth(image, pull.credentials.as_ref());
        let mut pulled = Pulled::default();
        let opened = self.follow(&path, &headers, &call, pull.quiet_limit);
        let mut followed = opened.await?;
        while let Some(message) = followed.next().await? {
            let status = message.status.as_deref().unwrap_or_default();
            if let Some(digest) = status.strip_prefix("Digest: ") {
                digest.clone_into(&mut pulled.digest);
            }
            call.tell(message, tell);
        }
        let (detail, _) = self.image(image).await?;
        if let Some(platform) = &pull.platform
            && self.transport().api_version().await? < PICKS_PLATFORM
            && !platform.fits(&detail.os, &detail.architecture)
        {
            // Such an engine takes what there is.
            return Err(ImageError::NotInRegistry {
                registry: image.registry().to_owned(),
                image: image.to_string(),
                platform: platform.as_str().to_owned(),
                message: format!("it is for {}/{}", detail.os, detail.architecture),
            }
            .into());
        }
        pulled.image_id = detail.id;
        pulled.unchanged = before.as_ref() == Some(&pulled.image_id);
        Ok(pulled)
    }

    /// Pushes an image. Returns the digest that the registry knows it by. Dropping it ends the push.
    pub async fn push_image(&self, push: &Push, tell: Tell<'_>) -> Result<String, Error> {
        let image = &push.image;
        let parts = image
            .parts()
            .filter(|parts| parts.digest.is_none())
            .ok_or_else(|| Error::Rejected {
                message: "an image is pushed by its name and tag".to_owned(),
            })?;
        // Asked for here, because the engine says it in the same words as a registry does.
        self.image(image).await?;
        let path = format!(
            "/images/{}/push?tag={}",
            parts.repository,
            escaped(parts.wanted())
        );
        let call = RegistryCall {
            image,
            platform: "",
            secrets: Secrets::of(&push.credentials),
        };
        let headers = auth(image, push.credentials.as_ref());
        let mut digest = String::new();
        let opened = self.follow(&path, &headers, &call, push.quiet_limit);
        let mut followed = opened.await?;
        while let Some(message) = followed.next().await? {
            let said = message.aux.as_ref().and_then(|aux| aux.get("Digest"));
            if let Some(said) = said.and_then(serde_json::Value::as_str) {
                said.clone_into(&mut digest);
            }
            call.tell(message, tell);
        }
        if digest.is_empty() {
            return Err(ImageError::Broken {
                registry: image.registry().to_owned(),
                image: image.to_string(),
                message: "the push ended without a digest".to_owned(),
            }
            .into());
        }
        Ok(digest)
    }

    async fn follow<'a>(
        &'a self,
        path: &str,
        headers: &str,
        call: &'a RegistryCall<'a>,
        limit: Duration,
    ) -> Result<Followed<'a>, Error> {
        let subject = Subject::Registry(call);
        let request = StreamRequest {
            method: "POST",
            path,
            body: "",
            upgrade: false,
            subject,
            deadline: Duration::MAX,
        };
        let opened = Stream::open_with(self.transport(), request, headers);
        let stream = self.patiently(limit, opened).await?;
        Ok(Followed::new(self, stream, subject, limit))
    }
}

/// The header that says who the caller is. A push without one is refused by the engine.
fn auth(image: &ImageRef, credentials: Option<&Credentials>) -> String {
    let json = credentials.map_or_else(|| json!({}), |it| it.json(image.registry()));
    let text = BASE64_URL_SAFE.encode(json.to_string());
    format!("X-Registry-Auth: {text}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_in_every_form_that_a_registry_sees() {
        let credentials = Credentials::Password {
            username: "user".into(),
            password: "canary/9f+?".into(),
        };
        let secrets = Secrets::of([&credentials]);
        let basic = BASE64_STANDARD.encode("user:canary/9f+?");
        let told = format!("a canary/9f+? b {basic} c canary%2F9f%2B%3F");
        let hidden = secrets.hide(&told);
        assert_eq!(hidden, "a (hidden) b (hidden) c (hidden)");
        assert_eq!(format!("{credentials:?}"), "Credentials(hidden)");
    }
}
