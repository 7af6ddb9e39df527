//! The files of a stack that was made by hand, where its labels say they are on the host.
//!
//! A label is what somebody wrote. Whoever may use the engine may do anything on the host; who only made an image may
//! not, and an image gives its labels to its containers: labels that come from there are not followed.

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use super::{
    files::Roles,
    folder::Project,
    listed::{self, Source},
};
use crate::{
    engines::docker::Engine,
    excerpt::{VALUE, excerpt},
};

/// A file, at most.
const MOST_BYTES: u64 = 2 << 20;

/// Why they are not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotUsed(String);

impl NotUsed {
    fn new(path: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("{}: {why}", excerpt(path, VALUE)))
    }
}

/// The project that the labels name.
pub(super) async fn project(engine: &Engine, source: Source) -> Result<Project, NotUsed> {
    let image = source.image.parse();
    let image = image.map_err(|_| NotUsed("its image has no id".to_owned()))?;
    let looked_at = engine.image(&image).await;
    let cannot = |error| NotUsed(format!("its image cannot be looked at: {error}"));
    let (image, _) = looked_at.map_err(cannot)?;
    if listed::SOURCES
        .iter()
        .any(|label| image.config.labels.contains_key(*label))
    {
        let why = "its labels come from its image, and are not followed";
        return Err(NotUsed(why.to_owned()));
    }
    let checking = tokio::task::spawn_blocking(move || checked(source));
    checking.await.map_err(|error| NotUsed(error.to_string()))?
}

fn checked(source: Source) -> Result<Project, NotUsed> {
    if source.config_files.is_empty() {
        return Err(NotUsed("its labels name no compose file".to_owned()));
    }
    let directory = plain(&source.working_dir)?;
    if !directory.is_dir() {
        let why = "the agent sees no such folder";
        return Err(NotUsed::new(&source.working_dir, why));
    }
    for file in source.config_files.iter().chain(&source.env_files) {
        readable(file)?;
    }
    Ok(Project::on_host(
        directory,
        Roles {
            compose: source.config_files,
            env: source.env_files,
            profiles: Vec::new(),
        },
    ))
}

/// A path that means what it says.
fn plain(text: &str) -> Result<PathBuf, NotUsed> {
    let path = Path::new(text);
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && plain && !text.contains('\0') {
        return Ok(path.to_owned());
    }
    Err(NotUsed::new(text, "not a full path"))
}

fn readable(text: &str) -> Result<(), NotUsed> {
    let path = plain(text)?;
    let cannot = |error| NotUsed::new(text, format!("the agent cannot read it ({error})"));
    // Looked at before it is opened: a pipe would be waited for.
    let of = fs::metadata(&path).map_err(cannot)?;
    if !of.is_file() || of.len() > MOST_BYTES {
        return Err(NotUsed::new(text, "not a file of at most 2 MiB"));
    }
    if of.mode() & 0o002 != 0 {
        return Err(NotUsed::new(text, "everybody on the host may write it"));
    }
    fs::File::open(&path).map(drop).map_err(cannot)
}

/// What a file of a project holds, for looking things up; empty when it cannot be read.
pub(super) fn text(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(path) {
        let _ = file.take(MOST_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that is wrong may panic")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_plain_paths_to_readable_files_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        fs::write(at("compose.yaml"), "services: {}").unwrap();
        fs::write(at("open.yaml"), "services: {}").unwrap();
        fs::set_permissions(at("open.yaml"), fs::Permissions::from_mode(0o666)).unwrap();
        fs::write(at("big.yaml"), vec![b' '; 3 << 20]).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe.yaml"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        let source = |working_dir: String, file: String| Source {
            working_dir,
            config_files: vec![file],
            ..Source::default()
        };
        checked(source(at(""), at("compose.yaml"))).unwrap();
        for (folder, file) in [
            (at(""), at("../compose.yaml")),
            (at(""), "compose.yaml".to_owned()),
            (at(""), "-".to_owned()),
            (at(""), at("missing.yaml")),
            (at(""), at("open.yaml")),
            (at(""), at("big.yaml")),
            (at(""), at("pipe.yaml")),
            (at(""), at("")),
            (at("missing"), at("compose.yaml")),
            (at("compose.yaml"), at("compose.yaml")),
            ("relative".to_owned(), at("compose.yaml")),
            (String::new(), at("compose.yaml")),
        ] {
            checked(source(folder, file)).unwrap_err();
        }
        checked(source(at(""), at("compose.yaml")).clone()).unwrap();
        checked(Source::default()).unwrap_err();
    }
}
