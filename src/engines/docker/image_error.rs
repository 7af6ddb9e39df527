//! What can go wrong with an image. Engines tell it in words alone, which differ from version to version.

use std::time::Duration;

use super::{error::Error, names::ImageRef};
use crate::excerpt::{SENTENCE, excerpt};

/// An error about an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The registry has no such image, or none for the platform.
    #[error(
        "the registry {registry} has no image {image}{}: look at its name and tag ({})",
        for_platform(platform),
        excerpt(message, SENTENCE)
    )]
    NotInRegistry {
        /// The registry.
        registry: String,
        /// As it was asked for.
        image: String,
        /// As it was asked for; empty when not.
        platform: String,
        /// The engine's words.
        message: String,
    },
    /// The registry refused.
    #[error(
        "the registry {registry} refused {image}: give credentials that may do this, and look at the image's name ({})",
        excerpt(message, SENTENCE)
    )]
    Denied {
        /// The registry.
        registry: String,
        /// The image.
        image: String,
        /// The engine's words.
        message: String,
    },
    /// The registry was not reached.
    #[error(
        "the engine did not reach the registry {registry}: look at its address, at the network and at the registry's certificate ({})",
        excerpt(message, SENTENCE)
    )]
    Unreachable {
        /// The registry.
        registry: String,
        /// The image.
        image: String,
        /// The engine's words.
        message: String,
    },
    /// The registry sent something else than it promised.
    #[error(
        "the registry {registry} failed with {image}: try again, and if it stays so, push the image anew ({})",
        excerpt(message, SENTENCE)
    )]
    Broken {
        /// The registry.
        registry: String,
        /// The image.
        image: String,
        /// The engine's words.
        message: String,
    },
    /// A disk is full.
    #[error(
        "a disk of the container engine is full: make room, for example with PruneImages ({})",
        excerpt(message, SENTENCE)
    )]
    NoSpace {
        /// The engine's words.
        message: String,
    },
    /// Something uses it.
    #[error("image {image} is in use: {}", excerpt(message, SENTENCE))]
    InUse {
        /// As it was asked for.
        image: String,
        /// The engine's words.
        message: String,
    },
    /// The engine said nothing for too long.
    #[error(
        "the container engine has said nothing of this for {} s, so it was ended: try again, or allow more with quiet_limit",
        limit.as_secs()
    )]
    Quiet {
        /// For so long.
        limit: Duration,
    },
    /// A step of a build failed.
    #[error("the build failed: {}", excerpt(message, SENTENCE))]
    BuildFailed {
        /// The exit code of the step's command.
        exit_code: Option<i64>,
        /// The engine's words.
        message: String,
    },
    /// The engine did not answer a change, and what it did could not be observed.
    #[error(
        "the engine did not answer about image {image}; it may have done what was asked: look at the image before you try again"
    )]
    OutcomeUnknown {
        /// As it was asked for.
        image: String,
    },
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

fn for_platform(platform: &str) -> String {
    match platform {
        "" => String::new(),
        platform => format!(" for {platform}"),
    }
}

/// What the engine meant by refusing a call about an image on the host.
pub(super) fn refused(image: &str, status: u16, message: String) -> Error {
    let image = image.to_owned();
    match status {
        404 => Error::ImageNotFound { image },
        409 => ImageError::InUse { image, message }.into(),
        400 => Error::Rejected { message },
        _ => failed(status, message),
    }
}

/// What the engine could not do, whatever it was.
pub(super) fn failed(status: u16, message: String) -> Error {
    if full(&message) {
        return ImageError::NoSpace { message }.into();
    }
    Error::Failed { status, message }
}

/// What the engine meant by failing with a registry. A status of 0 came inside an answer.
pub(super) fn with_registry(
    image: &ImageRef,
    platform: &str,
    status: u16,
    message: String,
) -> Error {
    let (registry, image) = (image.registry().to_owned(), image.to_string());
    let text = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let error = if full(&message) {
        ImageError::NoSpace { message }
    } else if has(NOT_THERE) {
        ImageError::NotInRegistry {
            registry,
            image,
            platform: platform.to_owned(),
            message,
        }
    } else if has(DENIED) {
        ImageError::Denied {
            registry,
            image,
            message,
        }
    } else if has(BROKEN) {
        ImageError::Broken {
            registry,
            image,
            message,
        }
    } else if has(UNREACHABLE) {
        ImageError::Unreachable {
            registry,
            image,
            message,
        }
    } else if status == 400 {
        return Error::Rejected { message };
    } else if status == 404 {
        return Error::ImageNotFound { image };
    } else {
        return Error::Failed { status, message };
    };
    error.into()
}

fn full(message: &str) -> bool {
    message.contains("no space left on device") || message.contains("disk quota exceeded")
}

/// Of a registry that answered, and has it not.
const NOT_THERE: &[&str] = &[
    "manifest unknown",
    "no matching manifest",
    "does not match the specified platform",
    "name unknown",
    "repository name not known",
    ": not found",
    "http 404 response",
];
const DENIED: &[&str] = &[
    "access denied",
    "denied:",
    "unauthorized",
    "no basic auth credentials",
    "toomanyrequests",
    "403 forbidden",
    // What stands before a registry often answers with a page for people.
    "http 401 response",
    "http 403 response",
    "http 429 response",
    "incorrect username or password",
];
/// Of content, so that an "EOF" in the middle of it is not taken for a broken connection.
const BROKEN: &[&str] = &[
    "verification failed",
    "size validation failed",
    "error parsing",
    "invalid checksum",
    "invalid manifest",
    "manifest invalid",
    "digest mismatch",
    "does not match provided digest",
    "unexpected commit digest",
    "failed size validation",
    "unexpected eof",
    "invalid character",
    "unexpected end of json",
    "unsupported manifest",
    "unsupported media type",
    "unknown blob",
    "gzip: ",
    "archive/tar",
    "unknown: ",
    "unexpected http status",
    "unexpected status",
    "received unexpected",
];
const UNREACHABLE: &[&str] = &[
    "connection refused",
    "connection reset",
    "no such host",
    "no route to host",
    "network is unreachable",
    "server misbehaving",
    "i/o timeout",
    "timeout",
    "deadline exceeded",
    "x509:",
    "tls:",
    "server gave http response",
    "eof",
    "broken pipe",
    "malformed http",
    "request canceled",
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What engines of 20.10 to 28 say.
    #[test]
    fn the_words_of_engines_are_understood() {
        let image = "r.example:5000/team/app:1".parse().unwrap();
        for (words, expected) in [
            (
                "manifest for r.example:5000/team/app:1 not found: manifest unknown: manifest unknown",
                "NotInRegistry",
            ),
            (
                "no matching manifest for linux/arm64/v8 in the manifest list entries",
                "NotInRegistry",
            ),
            (
                "image with reference r.example:5000/team/app:1 was found but does not match the specified platform: wanted linux/arm64, actual: linux/amd64",
                "NotInRegistry",
            ),
            (
                "failed to resolve reference \"r.example:5000/team/app:1\": r.example:5000/team/app:1: not found",
                "NotInRegistry",
            ),
            (
                "pull access denied for x, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
                "Denied",
            ),
            (
                "Head \"http://r.example:5000/v2/team/app/manifests/1\": no basic auth credentials",
                "Denied",
            ),
            ("unauthorized: authentication required", "Denied"),
            (
                "error parsing HTTP 403 response body: invalid character '<' looking for beginning of value: \"<html>\"",
                "Denied",
            ),
            (
                "toomanyrequests: You have reached your pull rate limit",
                "Denied",
            ),
            (
                "Get \"https://r.example:5000/v2/\": dial tcp 127.0.0.1:5000: connect: connection refused",
                "Unreachable",
            ),
            (
                "Get \"https://r.example:5000/v2/\": dial tcp: lookup r.example: no such host",
                "Unreachable",
            ),
            (
                "Get \"https://r.example:5000/v2/\": x509: certificate signed by unknown authority",
                "Unreachable",
            ),
            (
                "Get \"https://r.example:5000/v2/\": net/http: TLS handshake timeout",
                "Unreachable",
            ),
            ("Get \"http://r.example:5000/v2/\": EOF", "Unreachable"),
            (
                "filesystem layer verification failed for digest sha256:00",
                "Broken",
            ),
            ("unexpected EOF", "Broken"),
            ("unknown blob", "Broken"),
            (
                "write /var/lib/docker/tmp/GetImageBlob1: no space left on device",
                "NoSpace",
            ),
        ] {
            let Error::Image(error) = with_registry(&image, "", 500, words.to_owned()) else {
                unreachable!("{words}")
            };
            let seen = format!("{error:?}");
            assert!(seen.starts_with(expected), "{words}: {seen}");
        }
    }
}
