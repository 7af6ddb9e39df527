//! What an image's name says: the registry, the repository and which of its images.

use super::names::{ImageRef, NameError, is_registry, lower_hex};

/// Where names without a registry belong.
const DEFAULT_REGISTRY: &str = "docker.io";

/// An image's name, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// With the registry, when the name says one.
    pub repository: &'a str,
    /// As it was given.
    pub tag: Option<&'a str>,
    /// "sha256:…", as it was given.
    pub digest: Option<&'a str>,
}

impl Parts<'_> {
    /// What a registry is asked for in the repository.
    pub fn wanted(&self) -> &str {
        self.digest.or(self.tag).unwrap_or("latest")
    }
}

impl ImageRef {
    /// Its parts; none when it is an id, which only this host knows.
    pub fn parts(&self) -> Option<Parts<'_>> {
        let text = self.as_str();
        if text.starts_with("sha256:") || (text.len() == 64 && lower_hex(text)) {
            return None;
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let name = rest.rfind('/').map_or(0, |at| at + 1);
        let colon = rest.get(name..)?.find(':').map(|at| name + at);
        let (repository, tag) = match colon {
            Some(at) => (rest.get(..at)?, rest.get(at + 1..)),
            None => (rest, None),
        };
        Some(Parts {
            repository,
            tag,
            digest,
        })
    }

    /// The registry that has it.
    pub fn registry(&self) -> &str {
        match self.as_str().split_once('/') {
            Some((first, _)) if is_registry(first) => first,
            _ => DEFAULT_REGISTRY,
        }
    }
}

/// What an image is made for: "os/architecture[/variant]".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform(String);

impl Platform {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Platform {
    /// Whether an image for this system and processor is what was asked for.
    pub(super) fn fits(&self, os: &str, architecture: &str) -> bool {
        let processor = |name: &str| match name {
            "x86_64" | "x86-64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            "armhf" | "armel" => "arm".to_owned(),
            "i386" | "i686" => "386".to_owned(),
            other => other.to_ascii_lowercase(),
        };
        let parts: Vec<&str> = self.0.split('/').collect();
        match parts.as_slice() {
            [one] => one.eq_ignore_ascii_case(os) || processor(one) == architecture,
            [system, cpu, ..] => system.eq_ignore_ascii_case(os) && processor(cpu) == architecture,
            [] => true,
        }
    }
}

impl std::str::FromStr for Platform {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let plain = |part: &str| {
            let sign = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            let begins = part.starts_with(|c: char| c.is_ascii_alphanumeric());
            begins && part.len() <= 32 && part.bytes().all(sign)
        };
        let parts = text.split('/').count();
        if (1..=3).contains(&parts) && text.split('/').all(plain) {
            return Ok(Self(text.to_owned()));
        }
        let mend = "write it as os/architecture[/variant], for example linux/arm64";
        Err(NameError::new(text, "a platform", mend))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_come_apart() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (registry, repository, tag, with_digest) in [
            ("docker.io", "busybox", None, false),
            ("docker.io", "team/app", Some("1.2"), false),
            ("localhost:5000", "localhost:5000/app", None, false),
            ("r.example:5", "r.example:5/a/b", Some("x"), true),
            ("r.example", "r.example/a", None, true),
        ] {
            let mut text = repository.to_owned();
            if let Some(tag) = tag {
                text = format!("{text}:{tag}");
            }
            if with_digest {
                text = format!("{text}@{digest}");
            }
            let image: ImageRef = text.parse().unwrap();
            let parts = image.parts().unwrap();
            assert_eq!(image.registry(), registry);
            assert_eq!((parts.repository, parts.tag), (repository, tag));
            assert_eq!(parts.digest.is_some(), with_digest);
        }
        assert_eq!(digest.parse::<ImageRef>().unwrap().parts(), None);
        for wrong in ["", "linux/", "a/b/c/d", "linux/arm64&x=1", "../x"] {
            wrong.parse::<Platform>().unwrap_err();
        }
        let platform = "linux/aarch64/v8".parse::<Platform>().unwrap();
        assert!(platform.fits("linux", "arm64"));
        assert!(!platform.fits("linux", "amd64") && !platform.fits("windows", "arm64"));
    }
}
