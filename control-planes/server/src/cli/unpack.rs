//! Unpacks what a container gave: it may have written whatever it likes.
//!
//! Everything goes into a new directory beside the destination, where nothing is that a link could lead to, and is moved
//! to its place when it is whole. Nothing that is there already is written into.

use std::{
    fs,
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
};

use tar::{Archive, EntryType};

use super::{
    copy::{Copied, Pieces},
    failure::Failure,
};

/// Unpacks to this place, or into it when it is a directory.
pub(super) fn unpack(pieces: Pieces, to: &Path) -> Result<Copied, Failure> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| Failure::File { path, source }
    };
    let into = fs::metadata(to).is_ok_and(|there| there.is_dir());
    let parent = match to.parent() {
        _ if into => to,
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let fresh = tempfile::Builder::new()
        .prefix(".turbopanel-cp-")
        .tempdir_in(parent)
        .map_err(file(parent))?;
    let mut copied = Copied::default();
    let top = all(pieces, fresh.path(), &mut copied)?;
    let came = fresh.path().join(&top);
    let place = if into { to.join(&top) } else { to.to_owned() };
    let there = place.symlink_metadata().ok();
    let comes_as_directory = came.symlink_metadata().map_err(file(&came))?.is_dir();
    if there.is_some_and(|there| there.is_dir() || comes_as_directory) {
        let source = io::Error::new(
            io::ErrorKind::AlreadyExists,
            "it is there already; remove it, or name another place",
        );
        return Err(Failure::File {
            path: place,
            source,
        });
    }
    fs::rename(&came, &place).map_err(file(&place))?;
    Ok(copied)
}

/// Unpacks all of it. Returns the one name that everything is below.
fn all(pieces: Pieces, fresh: &Path, copied: &mut Copied) -> Result<PathBuf, Failure> {
    let broken = |source| Failure::File {
        path: PathBuf::from("the archive"),
        source,
    };
    let mut archive = Archive::new(pieces);
    let mut top: Option<PathBuf> = None;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let refused = |why: &str| {
            broken(io::Error::other(format!(
                "the entry {} is refused: {why}",
                path.display()
            )))
        };
        let mut parts = path.components().filter(|part| *part != Component::CurDir);
        let first = match parts.next() {
            Some(Component::Normal(first)) => PathBuf::from(first),
            _ => return Err(refused("its name leads elsewhere")),
        };
        if parts.any(|part| !matches!(part, Component::Normal(_))) {
            return Err(refused("its name leads elsewhere"));
        }
        if *top.get_or_insert_with(|| first.clone()) != first {
            return Err(refused("it is not part of what was asked for"));
        }
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => copied.bytes += entry.size(),
            EntryType::Directory | EntryType::Symlink | EntryType::Link => {}
            _ => return Err(refused("it is a device or a pipe")),
        }
        // Looks at each directory on the way, so that no link leads out.
        if !entry.unpack_in(fresh).map_err(broken)? {
            return Err(refused("it links elsewhere"));
        }
        copied.entries += 1;
    }
    // To its end, so that a cut is not taken for one.
    let mut pieces = archive.into_inner();
    let mut rest = [0; 4096];
    while pieces.read(&mut rest).map_err(broken)? > 0 {}
    top.ok_or_else(|| broken(io::ErrorKind::UnexpectedEof.into()))
}
