//! Where the agent keeps the files of stacks: a folder each, that only the agent's user may enter.
//!
//! ```text
//!  STATE/stacks/NAME/stack     what UpStack was sent, written at once: the files, and what compose is told of them
//!  STATE/stacks/NAME/files/    the project's directory: the same, laid out anew before each use
//!  STATE/stacks/.draft-…       what is only looked at, removed after that
//! ```
//!
//! A container may have the project's directory mounted, and so may have changed what lies there, or put links in its place.
//! Nothing is read from there, links in it are not followed, and what is not the caller's is left alone.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    files::{self, Content, Files, MOST_BYTES, Roles},
    host,
    laid::Laid,
    mistake::Source,
    names::StackName,
};

/// A record, at most: the contents, and room for names.
const MOST_RECORD: u64 = (MOST_BYTES + (1 << 20)) as u64;
/// Stacks that are listed, at most.
const MOST_STACKS: usize = 4096;
const RECORD: &str = "stack";
const FILES: &str = "files";
const DRAFT: &str = ".draft-";

/// The folder of all stacks. Cheap to clone. Its methods read and write files: call them where that may block.
#[derive(Debug, Clone)]
pub struct Folder {
    path: Arc<Path>,
}

/// Files that lie where compose can read them.
#[derive(Debug)]
pub struct Project {
    /// The project's directory.
    pub directory: PathBuf,
    /// What compose is told of the files in it.
    pub roles: Roles,
    /// Values to hide.
    pub secrets: Vec<String>,
    /// Removed with this.
    draft: Option<PathBuf>,
}

/// The first line of a record; the contents follow, one after the other.
#[derive(Serialize, Deserialize)]
struct Head {
    files: Vec<(String, usize, bool)>,
    roles: Roles,
}

impl Project {
    /// A project that somebody else keeps on the host.
    pub(super) fn on_host(directory: PathBuf, roles: Roles) -> Self {
        let own = [".env".to_owned()];
        let env = if roles.env.is_empty() {
            &own[..]
        } else {
            &roles.env
        };
        let env = env.iter().map(|file| host::text(&directory.join(file)));
        let secrets = files::secrets(env);
        Self {
            directory,
            roles,
            secrets,
            draft: None,
        }
    }

    /// The text without values that are secrets.
    pub fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        text
    }

    /// Its compose files and files of variables, as far as they can be read.
    pub(super) fn sources(&self) -> Vec<Source> {
        let names = self.roles.compose.iter().chain(&self.roles.env);
        let sources = names.map(|name| {
            let path = self.directory.join(name);
            Source {
                text: host::text(&path),
                path: path.to_string_lossy().into_owned(),
                name: name.clone(),
            }
        });
        sources.collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if let Some(draft) = &self.draft {
            let _ = fs::remove_dir_all(draft);
        }
    }
}

impl Folder {
    /// The folder below the agent's state directory. Drafts that a killed agent left are removed.
    pub fn open(state_dir: &Path) -> Self {
        let path = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
        let path = path.join("stacks");
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(DRAFT) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stacks whose files are kept, by name.
    pub fn names(&self) -> Vec<StackName> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let kept = entries.filter_map(|entry| {
            let name = entry.file_name().to_str()?.parse().ok()?;
            entry.path().join(RECORD).is_file().then_some(name)
        });
        let mut names: Vec<StackName> = kept.take(MOST_STACKS).collect();
        names.sort_unstable();
        names
    }

    /// Keeps the files of a stack in the place of those that were kept. After an error those are kept as before.
    pub fn keep(&self, name: &StackName, files: &Files) -> io::Result<()> {
        let folder = self.path.join(name.as_str());
        private_dir(&folder)?;
        let head = Head {
            files: files
                .iter()
                .map(|(name, content)| (name.to_string(), content.bytes.len(), content.executable))
                .collect(),
            roles: files.roles().clone(),
        };
        let fresh = folder.join("stack.new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&serde_json::to_vec(&head)?)?;
        file.write_all(b"\n")?;
        for (_, content) in files.iter() {
            file.write_all(&content.bytes)?;
        }
        file.sync_all()?;
        fs::rename(&fresh, folder.join(RECORD))?;
        File::open(&folder)?.sync_all()
    }

    /// When the files of a stack were kept, in nanoseconds since the Unix epoch; none when there are none.
    pub fn kept_at(&self, name: &StackName) -> Option<i64> {
        let record = fs::metadata(self.path.join(name.as_str()).join(RECORD)).ok()?;
        Some(record.mtime().saturating_mul(1_000_000_000) + record.mtime_nsec())
    }

    /// Where the files of a stack are laid out.
    pub fn directory(&self, name: &StackName) -> PathBuf {
        self.path.join(name.as_str()).join(FILES)
    }

    /// The files that are kept of a stack; none when there are none.
    pub fn kept(&self, name: &StackName) -> io::Result<Option<Files>> {
        let file = match File::open(self.path.join(name.as_str()).join(RECORD)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(MOST_RECORD).read_to_end(&mut bytes)?;
        let mut bytes = Bytes::from(bytes);
        let broken = || {
            io::Error::other(
                "the record of the stack's files is broken: bring the stack up with its files again",
            )
        };
        let end = memchr::memchr(b'\n', &bytes).ok_or_else(broken)?;
        let head: Head = serde_json::from_slice(&bytes.split_to(end)).map_err(|_| broken())?;
        let mut contents = bytes.split_off(1);
        let mut files = Vec::new();
        for (name, length, executable) in head.files {
            if length > contents.len() {
                return Err(broken());
            }
            let bytes = contents.split_to(length);
            files.push((name, Content { bytes, executable }));
        }
        Files::new(files, head.roles)
            .map(Some)
            .map_err(io::Error::other)
    }

    /// Lays out the files in the stack's own directory. Those of `before` that are no more are removed.
    pub fn lay_out(
        &self,
        name: &StackName,
        files: &Files,
        before: Option<&Files>,
    ) -> io::Result<Project> {
        let folder = self.path.join(name.as_str());
        private_dir(&folder)?;
        let directory = folder.join(FILES);
        let laid = Laid::open(&directory)?;
        for (name, _) in before.into_iter().flat_map(Files::iter) {
            if !files.iter().any(|(other, _)| other == name) {
                laid.remove(name);
            }
        }
        laid.write(files)?;
        Ok(Project {
            directory,
            roles: files.roles().clone(),
            secrets: files.secrets(),
            draft: None,
        })
    }

    /// Lays out files that are only looked at.
    pub fn draft(&self, files: &Files) -> io::Result<Project> {
        let draft = self
            .path
            .join(format!("{DRAFT}{}", turbopanel_tunnel::Instance::random()));
        private_dir(&self.path)?;
        DirBuilder::new().mode(0o700).create(&draft)?;
        let project = Project {
            directory: draft.join(FILES),
            roles: files.roles().clone(),
            secrets: files.secrets(),
            draft: Some(draft),
        };
        Laid::open(&project.directory)?.write(files)?;
        Ok(project)
    }

    /// Forgets the files of a stack. What else lies in its directory stays.
    pub fn forget(&self, name: &StackName) -> io::Result<()> {
        let folder = self.path.join(name.as_str());
        let kept = self.kept(name);
        match fs::remove_file(folder.join(RECORD)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        if let Ok(Some(files)) = kept
            && let Ok(laid) = Laid::open(&folder.join(FILES))
        {
            for (name, _) in files.iter() {
                laid.remove(name);
            }
        }
        // They stay while something is in them.
        let _ = fs::remove_dir(folder.join(FILES));
        let _ = fs::remove_dir(&folder);
        Ok(())
    }
}

/// Makes a folder that only the agent's user may enter, also where there was one that others may.
fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}
