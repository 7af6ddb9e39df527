//! A file of the engine's that is open, and the folder that it is in.
//!
//! The runtime has one thread, so nothing in here waits for a disk on it: what the page cache has is read at once,
//! and for what it has not another thread reads first.

use std::{io, io::IoSliceMut, os::fd::OwnedFd, path::Component, path::Path, sync::Arc};

use rustix::{
    fs::{Advice, AtFlags, FileType, Mode, OFlags, Stat, fadvise, fstat, openat, statat},
    io::{Errno, ReadWriteFlags, pread, preadv2},
};
use tokio::task::{spawn_blocking, yield_now};

/// So much is read before others get their turn.
pub(super) const TURN: usize = 256 << 10;
/// So often the page cache is filled for a read before it is made all the same.
const WARMINGS: u32 = 3;

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    #[allow(
        clippy::unnecessary_cast,
        reason = "the widths differ between architectures"
    )]
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
        }
    }
}

/// A regular file, open for reading.
#[derive(Debug, Clone)]
pub(super) struct File {
    fd: Arc<OwnedFd>,
    pub(super) identity: Identity,
    /// What was read since the last pause.
    since_pause: usize,
}

/// A folder that was reached without following a link.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) fd: Arc<OwnedFd>,
}

const FOLDER: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
// A fifo must not make the opening wait.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

impl Folder {
    /// Opens an absolute path below a root, one name after the other.
    pub(super) fn open(root: &Path, path: &Path) -> io::Result<Self> {
        let flags = FOLDER.difference(OFlags::NOFOLLOW);
        let mut fd = rustix::fs::open(root, flags, Mode::empty())?;
        for component in path.components() {
            match component {
                Component::RootDir => {}
                Component::Normal(name) => fd = openat(&fd, name, FOLDER, Mode::empty())?,
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        Ok(Self { fd: Arc::new(fd) })
    }

    /// Opens a regular file in it. None when there is none of that name.
    pub(super) fn file(&self, name: &str) -> io::Result<Option<File>> {
        let fd = match openat(&self.fd, name, FILE, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other(format!("{name} is no regular file")));
        }
        // Only advice.
        let _ = fadvise(&fd, 0, None, Advice::Sequential);
        Ok(Some(File {
            fd: Arc::new(fd),
            identity: Identity::of(&stat),
            since_pause: 0,
        }))
    }

    /// Which file has the name now. None when none has.
    pub(super) fn identity(&self, name: &str) -> io::Result<Option<Identity>> {
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Identity::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl File {
    /// How long it is now.
    pub(super) fn size(&self) -> io::Result<u64> {
        Ok(u64::try_from(fstat(&self.fd)?.st_size).unwrap_or_default())
    }

    /// Reads what is there, at most as much as there is room; 0 at the end. Cancel-safe.
    pub(super) async fn read_at(&mut self, room: &mut [u8], at: u64) -> io::Result<usize> {
        if self.since_pause >= TURN {
            self.since_pause = 0;
            yield_now().await;
        }
        let most = room.len().min(TURN);
        let room = room.get_mut(..most).unwrap_or_default();
        let mut warmings = 0;
        while warmings < WARMINGS {
            let mut rooms = [IoSliceMut::new(room)];
            match preadv2(&self.fd, &mut rooms, at, ReadWriteFlags::NOWAIT) {
                Ok(read) => {
                    self.since_pause += read;
                    return Ok(read);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    warmings += 1;
                    self.warm(at, most).await?;
                }
                // The file system or the kernel cannot tell.
                Err(_) => {
                    warmings = WARMINGS;
                    self.warm(at, most).await?;
                }
            }
        }
        let read = pread(&self.fd, room, at)?;
        self.since_pause += read;
        Ok(read)
    }

    /// Has another thread read, for the page cache. It reads at most [`TURN`] bytes and ends.
    async fn warm(&self, at: u64, length: usize) -> io::Result<()> {
        let fd = Arc::clone(&self.fd);
        let reading = spawn_blocking(move || pread(&fd, &mut vec![0; length][..], at).map(drop));
        reading.await.map_err(io::Error::other)?.map_err(Into::into)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn links_and_what_is_no_file_are_not_opened() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::write(at("real/log"), "text").unwrap();
        symlink(at("real"), at("link")).unwrap();
        symlink(at("real/log"), at("real/linked")).unwrap();
        fs::create_dir(at("real/folder")).unwrap();
        let fifo = FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("real/fifo"), fifo, 0o600.into(), 0).unwrap();

        let folder = Folder::open(root.path(), Path::new("/real")).unwrap();
        let file = folder.file("log").unwrap().unwrap();
        assert_eq!(file.size().unwrap(), 4);
        assert_eq!(folder.identity("log").unwrap(), Some(file.identity));
        assert!(folder.file("absent").unwrap().is_none());
        for name in ["linked", "folder", "fifo"] {
            assert!(folder.file(name).is_err(), "{name}");
        }
        for path in ["/link", "/real/../real", "/real/log", "/absent"] {
            assert!(
                Folder::open(root.path(), Path::new(path)).is_err(),
                "{path}"
            );
        }
    }
}
