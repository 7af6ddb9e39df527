//! Where the engine keeps the log of a container, and which of the files there hold what.
//!
//! ```text
//! json-file: CONTAINERS/ID/ID-json.log           the live file
//!                          ID-json.log.1 .2 …     older ones, .1 the newest of them; with ".gz" behind when compressed
//! local:     CONTAINERS/ID/local-logs/container.log and so on
//! ```
//! When the live file is full, the engine gives each older one the next number, makes the live one number 1, and begins
//! a new one. A compressed copy is complete before the file that it replaces is removed.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    file::{File, Folder, Identity},
    record::Format,
    records::Source,
};
use crate::engines::docker::container::Detail;

/// More files than this are left to the engine.
const MOST_FILES: u32 = 100;
/// So often the folder is looked at until it holds still.
const LOOKS: u32 = 20;
/// An engine renames files within microseconds.
const PAUSE: Duration = Duration::from_millis(2);
/// So much of two files' beginnings is compared: records with their times.
const HEAD: usize = 4 << 10;

/// The files of one log.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) format: Format,
    pub(super) folder: Folder,
    name: String,
    /// How many files there are besides the live one, at most.
    older: u32,
}

/// A file, and whether it is compressed.
#[derive(Debug)]
pub(super) struct Older {
    pub(super) file: File,
    packed: bool,
}

/// The files of a log at one moment.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) live: File,
    /// The newest first.
    pub(super) older: Vec<Older>,
}

/// What became of the file that was live.
#[derive(Debug)]
pub(super) enum Successors {
    /// It is the live one.
    None,
    /// The live file is gone, and no other is there yet.
    NotYet,
    /// It was replaced: what follows it, and whether all of that is still there.
    Follow { files: Files, whole: bool },
}

impl Place {
    /// Where the log of a container is, if its files are ones that can be read. `root` is where the host's files are.
    pub(super) fn find(detail: &Detail, root: &Path) -> Option<Self> {
        let id = detail.container.id.as_str();
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if id.len() != 64 || !id.bytes().all(hexadecimal) {
            return None;
        }
        let (format, folder, name, files) = match detail.log_driver.as_str() {
            "json-file" => {
                let name = format!("{id}-json.log");
                let folder = folder_of(&detail.log_path, id, &name)?;
                (Format::Json, folder, name, 1)
            }
            "local" => {
                // Of this log the engine tells no path, but of what lies beside it.
                let folder = folder_of(&detail.resolv_conf_path, id, "resolv.conf")?;
                (
                    Format::Local,
                    folder.join("local-logs"),
                    "container.log".to_owned(),
                    5,
                )
            }
            _ => return None,
        };
        let files = match detail.log_options.get("max-file") {
            Some(files) => files.parse().ok()?,
            None => files,
        };
        let older = (1..=MOST_FILES).contains(&files).then(|| files - 1)?;
        Some(Self {
            format,
            folder: Folder::open(root, &folder).ok()?,
            name,
            older,
        })
    }

    fn older_name(&self, number: u32, packed: bool) -> String {
        let end = if packed { ".gz" } else { "" };
        format!("{}.{number}{end}", self.name)
    }

    fn older_file(&self, number: u32) -> io::Result<Option<Older>> {
        // In this order: while it is compressed, both are there.
        if let Some(file) = self.folder.file(&self.older_name(number, false))? {
            return Ok(Some(Older {
                file,
                packed: false,
            }));
        }
        let packed = self.folder.file(&self.older_name(number, true))?;
        Ok(packed.map(|file| Older { file, packed: true }))
    }

    /// Opens all files. What is open stays readable, whatever the engine does with its name. None when
    /// there is no live file.
    pub(super) async fn files(&self) -> io::Result<Option<Files>> {
        self.files_up_to(self.older).await
    }

    async fn files_up_to(&self, most: u32) -> io::Result<Option<Files>> {
        let mut looks = 0;
        loop {
            looks += 1;
            let Some(live) = self.folder.file(&self.name)? else {
                if looks < LOOKS {
                    sleep(PAUSE).await;
                    continue;
                }
                return Ok(None);
            };
            let mut older: Vec<Older> = Vec::new();
            let (mut names, mut hole, mut moving) = (Vec::new(), false, false);
            for number in 1..=most {
                match self.older_file(number)? {
                    Some(file) => {
                        let identity = file.file.identity;
                        let mut known = older.iter().map(|one| one.file.identity);
                        // The engine makes room from the oldest on: one file has two names, one after the other.
                        let twice = identity == live.identity || known.any(|one| one == identity);
                        moving |= hole || twice;
                        if !twice {
                            names.push((self.older_name(number, file.packed), identity));
                            older.push(file);
                        }
                    }
                    None => hole = true,
                }
            }
            names.push((self.name.clone(), live.identity));
            for (name, identity) in names {
                moving |= self.folder.identity(&name)? != Some(identity);
            }
            // A hole that stays is one that somebody has made.
            if !moving || looks >= LOOKS {
                return Ok(Some(Files { live, older }));
            }
            sleep(PAUSE).await;
        }
    }

    /// What follows the file that was live. It is read to its end before.
    pub(super) async fn successors(&self, was: &mut File) -> io::Result<Successors> {
        match self.folder.identity(&self.name)? {
            Some(live) if live == was.identity => return Ok(Successors::None),
            Some(_) => {}
            None => return Ok(Successors::NotYet),
        }
        // An engine keeps one more than it reads when it is to keep one only.
        let Some(mut files) = self.files_up_to(self.older.max(1)).await? else {
            return Ok(Successors::NotYet);
        };
        let mut found = None;
        for (number, older) in files.older.iter_mut().enumerate() {
            if older.is(was).await? {
                found = Some(number);
                break;
            }
        }
        files.older.truncate(found.unwrap_or(files.older.len()));
        Ok(Successors::Follow {
            files,
            whole: found.is_some(),
        })
    }

    /// Whether the engine keeps the live file only.
    pub(super) fn keeps_none(&self) -> bool {
        self.older == 0
    }

    /// Which file is live now.
    pub(super) fn live(&self) -> io::Result<Option<Identity>> {
        self.folder.identity(&self.name)
    }
}

impl Older {
    /// To read it from the beginning.
    pub(super) fn source(&self) -> Source {
        if self.packed {
            Source::packed(self.file.clone())
        } else {
            Source::plain(self.file.clone(), 0, None)
        }
    }

    /// Whether it is this file, or the compressed copy of it.
    async fn is(&mut self, was: &mut File) -> io::Result<bool> {
        if !self.packed {
            return Ok(self.file.identity == was.identity);
        }
        let (mut one, mut other) = ([0; HEAD], [0; HEAD]);
        let length = read_head(&mut Source::plain(was.clone(), 0, None), &mut one).await?;
        let Ok(same) = read_head(&mut self.source(), &mut other).await else {
            // One that cannot be unpacked is not it.
            return Ok(false);
        };
        Ok(length == same && one == other)
    }
}

async fn read_head(source: &mut Source, head: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < head.len() {
        let room = head.get_mut(filled..).unwrap_or_default();
        let read = match source {
            Source::Plain { file, .. } => file.read_at(room, filled as u64).await?,
            Source::Packed(unpacker) => unpacker.read(room).await?,
        };
        if read == 0 {
            break;
        }
        filled += read;
    }
    Ok(filled)
}

/// The folder of a file whose path the engine told, when the path is what it must be: absolute, straight, and that of this
/// container.
fn folder_of(path: &str, id: &str, name: &str) -> Option<PathBuf> {
    let folder = path.strip_suffix(name)?.strip_suffix('/')?;
    let own = folder.strip_suffix(id)?.ends_with('/');
    let straight = folder
        .split('/')
        .skip(1)
        .all(|part| !matches!(part, "" | "." | ".."));
    (own && straight && folder.starts_with('/') && !folder.contains('\0'))
        .then(|| PathBuf::from(folder))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_containers_own_path_is_taken() {
        let folder = |path| folder_of(path, "abc", "abc-json.log");
        assert_eq!(
            folder("/var/lib/docker/containers/abc/abc-json.log"),
            Some(PathBuf::from("/var/lib/docker/containers/abc"))
        );
        for path in [
            "",
            "abc-json.log",
            "abc/abc-json.log",
            "/abc-json.log",
            "/var/lib/docker/containers/xabc/abc-json.log",
            "/var/lib/docker/containers/other/abc-json.log",
            "/var/lib/docker/containers/abc/other-json.log",
            "/var/lib/docker/../etc/abc/abc-json.log",
            "/var/lib/docker/./abc/abc-json.log",
            "/var//lib/abc/abc-json.log",
            "/var/lib/abc//abc-json.log",
            "/var/\0lib/abc/abc-json.log",
            "/etc/shadow",
        ] {
            assert_eq!(folder(path), None, "{path:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn files_that_are_being_renamed_are_opened_once_each() {
        use std::{fs, sync::atomic::AtomicBool, sync::atomic::Ordering};
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (number, name) in ["log", "log.1", "log.2", "log.3"].iter().enumerate() {
            fs::write(at(name), (10 - number).to_string()).unwrap();
        }
        let place = Place {
            format: Format::Json,
            folder: Folder::open(Path::new("/"), directory.path()).unwrap(),
            name: "log".to_owned(),
            older: 3,
        };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // As the engine does it.
                for number in 11.. {
                    fs::remove_file(at("log.3")).unwrap();
                    for (from, to) in [("log.2", "log.3"), ("log.1", "log.2"), ("log", "log.1")] {
                        fs::rename(at(from), at(to)).unwrap();
                        std::thread::sleep(Duration::from_micros(200));
                    }
                    fs::write(at("new"), number.to_string()).unwrap();
                    fs::rename(at("new"), at("log")).unwrap();
                    std::thread::sleep(Duration::from_millis(2));
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
            let reading = async {
                for _ in 0..500 {
                    let Files { live, older } = place.files().await?.unwrap();
                    let mut numbers: Vec<u32> = Vec::new();
                    for file in std::iter::once(live).chain(older.into_iter().map(|one| one.file)) {
                        let mut text = [0; 20];
                        let length = file.clone().read_at(&mut text, 0).await?;
                        let text = std::str::from_utf8(text.get(..length).unwrap()).unwrap();
                        numbers.push(text.parse().unwrap());
                    }
                    let falling = numbers.is_sorted_by(|one, next| *one == next + 1);
                    assert!(falling && numbers.len() == 4, "{numbers:?}");
                }
                Ok::<(), io::Error>(())
            };
            let done =
                tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(reading));
            over.store(true, Ordering::Relaxed);
            done.unwrap();
        });
    }
}
