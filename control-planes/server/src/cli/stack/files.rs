//! Reads the files of a stack that are sent, and names them relative to the project's folder.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use turbopanel_control_plane::proto::agent::{StackFile, StackFiles};

use super::args::Files;
use crate::cli::{failure::Failure, text};

/// As the agent takes them.
const MOST_BYTES: u64 = 2 << 20;
const MOST_FILES: usize = 128;

/// Reads what was named; none when nothing was.
pub(super) fn read(named: &Files) -> Result<Option<StackFiles>, Failure> {
    let Some(first) = named.compose.first() else {
        return Ok(None);
    };
    let folder = match first.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let folder = folder
        .canonicalize()
        .map_err(|error| cannot(&folder, &error))?;
    let mut reading = Reading {
        folder,
        files: Vec::new(),
        left: MOST_BYTES,
    };
    let compose_files = reading.all(&named.compose)?;
    let own = reading.folder.join(".env");
    let env_files = if named.env_file.is_empty() && own.is_file() {
        vec![reading.one(&own)?]
    } else {
        reading.all(&named.env_file)?
    };
    for path in &named.with {
        reading.whole(path, 0)?;
    }
    Ok(Some(StackFiles {
        files: reading.files,
        compose_files,
        env_files,
        profiles: named.profile.clone(),
    }))
}

struct Reading {
    folder: PathBuf,
    files: Vec<StackFile>,
    left: u64,
}

impl Reading {
    fn all(&mut self, paths: &[PathBuf]) -> Result<Vec<String>, Failure> {
        paths.iter().map(|path| self.one(path)).collect()
    }

    /// Reads a file, once. Returns its name.
    fn one(&mut self, path: &Path) -> Result<String, Failure> {
        let full = path.canonicalize().map_err(|error| cannot(path, &error))?;
        let name = full.strip_prefix(&self.folder).ok().and_then(Path::to_str);
        let Some(name) = name else {
            return Err(Failure::Argument(format!(
                "{} is not in the project's folder {}: put it there, beside the first compose file",
                shown(path),
                shown(&self.folder)
            )));
        };
        if self.files.iter().any(|file| file.name == name) {
            return Ok(name.to_owned());
        }
        let file = fs::File::open(&full).map_err(|error| cannot(path, &error))?;
        let executable = file
            .metadata()
            .map_err(|error| cannot(path, &error))?
            .permissions()
            .mode()
            & 0o100
            != 0;
        let mut content = Vec::new();
        let read = file.take(self.left + 1).read_to_end(&mut content);
        read.map_err(|error| cannot(path, &error))?;
        let Some(left) = self.left.checked_sub(content.len() as u64) else {
            return Err(too_much());
        };
        self.left = left;
        if self.files.len() >= MOST_FILES {
            return Err(too_much());
        }
        self.files.push(StackFile {
            name: name.to_owned(),
            content: content.into(),
            executable,
        });
        Ok(name.to_owned())
    }

    /// Reads a file, or everything in a folder.
    fn whole(&mut self, path: &Path, depth: usize) -> Result<(), Failure> {
        const DEEPEST: usize = 8;
        if !path.is_dir() {
            return self.one(path).map(drop);
        }
        if depth >= DEEPEST {
            let told = format!("{} is more than {DEEPEST} folders deep", shown(path));
            return Err(Failure::Argument(told));
        }
        let entries = fs::read_dir(path).map_err(|error| cannot(path, &error))?;
        let mut below: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        below.sort();
        below
            .iter()
            .try_for_each(|path| self.whole(path, depth + 1))
    }
}

fn shown(path: &Path) -> String {
    text::safe(&path.to_string_lossy())
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::Argument(format!("cannot read {}: {error}", shown(path)))
}

fn too_much() -> Failure {
    Failure::Argument(format!(
        "a stack has at most {MOST_FILES} files of {} MiB in all: send only what its containers need",
        MOST_BYTES >> 20
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that is wrong may panic")]
mod tests {
    use super::*;

    fn named(compose: &[PathBuf], with: &[PathBuf]) -> Files {
        Files {
            compose: compose.to_vec(),
            env_file: Vec::new(),
            with: with.to_vec(),
            profile: Vec::new(),
        }
    }

    #[test]
    fn files_are_named_relative_to_the_first_one() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("app/conf/deep")).unwrap();
        for name in [
            "app/compose.yaml",
            "app/.env",
            "app/conf/a",
            "app/conf/deep/b",
            "outside",
        ] {
            fs::write(at(name), name).unwrap();
        }
        fs::set_permissions(at("app/conf/a"), fs::Permissions::from_mode(0o755)).unwrap();
        let compose = [at("app/compose.yaml")];
        let sent = read(&named(&compose, &[at("app/conf"), at("app/conf/a")]))
            .unwrap()
            .unwrap();
        let names: Vec<_> = sent
            .files
            .iter()
            .map(|file| (file.name.as_str(), file.executable))
            .collect();
        let expected = [
            ("compose.yaml", false),
            (".env", false),
            ("conf/a", true),
            ("conf/deep/b", false),
        ];
        assert_eq!(names, expected);
        assert_eq!(
            (sent.compose_files, sent.env_files),
            (vec!["compose.yaml".to_owned()], vec![".env".to_owned()])
        );
        assert!(read(&named(&[], &[])).unwrap().is_none());
        for wrong in [at("outside"), at("missing"), at("app/../outside")] {
            read(&named(&compose, &[wrong])).unwrap_err();
        }
        fs::write(at("app/big"), vec![0; 3 << 20]).unwrap();
        let refused = read(&named(&compose, &[at("app/big")])).unwrap_err();
        assert!(refused.to_string().contains("at most"), "{refused}");
    }
}
