//! A project's directory, written without following links: a container that has it mounted could place them.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, fchmod, mkdirat, openat, renameat, unlinkat},
    io::Errno,
};

use super::{files::Files, names::FileName};

/// A file is written beside its place under this name, which no file of a caller's has.
const FRESH: &str = "-fresh";

/// An open project directory.
pub(super) struct Laid {
    directory: OwnedFd,
}

impl Laid {
    /// Makes it where it is missing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(0o755).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(path)?;
        Ok(Self {
            directory: directory.into(),
        })
    }

    /// Writes all files: first beside their places, so that a full disk changes nothing.
    pub(super) fn write(&self, files: &Files) -> io::Result<()> {
        let mut fresh = Vec::new();
        for (number, (name, content)) in files.iter().enumerate() {
            let fresh_name = format!("{FRESH}{number}");
            let mode = match (files.is_private(name), content.executable) {
                (true, _) => Mode::from_raw_mode(0o600),
                (false, true) => Mode::from_raw_mode(0o755),
                (false, false) => Mode::from_raw_mode(0o644),
            };
            let written = self.write_fresh(&fresh_name, &content.bytes, mode);
            fresh.push(fresh_name);
            if let Err(error) = written {
                for name in fresh {
                    let _ = unlinkat(&self.directory, name, AtFlags::empty());
                }
                return Err(error);
            }
        }
        for ((name, _), fresh) in files.iter().zip(fresh) {
            let (folder, last) = self.folder(name, true)?;
            let folder = folder.as_ref().unwrap_or(&self.directory);
            if let Err(error) = renameat(&self.directory, &fresh, folder, last) {
                let error = io::Error::from(error);
                return Err(io::Error::new(error.kind(), format!("{name}: {error}")));
            }
        }
        Ok(())
    }

    fn write_fresh(&self, name: &str, bytes: &[u8], mode: Mode) -> io::Result<()> {
        match unlinkat(&self.directory, name, AtFlags::empty()) {
            Err(error) if error != Errno::NOENT => return Err(error.into()),
            _ => {}
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, name, flags, Mode::from_raw_mode(0o600))?;
        // Whatever the umask is.
        fchmod(file.as_fd(), mode)?;
        let mut file = File::from(file);
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// The folder that a file lies in (none: the directory itself), and its name there.
    fn folder<'a>(&self, name: &'a FileName, make: bool) -> io::Result<(Option<OwnedFd>, &'a str)> {
        let mut folder: Option<OwnedFd> = None;
        let mut parts = name.as_str().split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return Ok((folder, part));
            }
            let above = folder.as_ref().unwrap_or(&self.directory);
            if make {
                match mkdirat(above, part, Mode::from_raw_mode(0o755)) {
                    Err(error) if error != Errno::EXIST => return Err(error.into()),
                    _ => {}
                }
            }
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below = openat(above, part, flags, Mode::empty()).map_err(|error| {
                let error = io::Error::from(error);
                let told = format!("{part} in the stack's folder is no folder of its own ({error}): remove it there, or rename the file");
                io::Error::new(error.kind(), told)
            })?;
            folder = Some(below);
        }
        Ok((folder, name.as_str()))
    }

    /// Removes a file if it is there.
    pub(super) fn remove(&self, name: &FileName) {
        if let Ok((folder, last)) = self.folder(name, false) {
            let folder = folder.as_ref().unwrap_or(&self.directory);
            let _ = unlinkat(folder, last, AtFlags::empty());
        }
    }
}
