//! Which names and links an archive may have: those that stay where it is put.

use std::collections::HashSet;

use super::rule::Rule;

/// The longest name of an entry, and of a link's target.
const LONGEST_NAME: usize = 4096;
/// The longest of a name's parts.
const LONGEST_PART: usize = 255;
/// Links whose names are remembered, in bytes.
const MOST_LINKS: usize = 8 << 20;

/// The parts of a name that stays where the archive is put; none for that place itself.
pub(super) fn name(text: &[u8]) -> Result<Vec<&[u8]>, Rule> {
    if text.is_empty() || text.len() > LONGEST_NAME || text.contains(&0) {
        return Err(Rule::Name);
    }
    if text.starts_with(b"/") {
        return Err(Rule::Absolute);
    }
    let parts: Vec<&[u8]> = text
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&&b".."[..]) {
        return Err(Rule::Parent);
    }
    if parts.iter().any(|part| part.len() > LONGEST_PART) {
        return Err(Rule::Name);
    }
    Ok(parts)
}

/// Fails when a symbolic link leads out of where the archive is put. It lies in no directory that is a link itself, so
/// climbing from where it lies tells; behind a name, another link could make ".." mean something else.
pub(super) fn stays_inside(target: &[u8], depth: usize) -> Result<(), Rule> {
    if target.is_empty() || target.len() > LONGEST_NAME || target.contains(&0) {
        return Err(Rule::Link);
    }
    let mut up = 0;
    let mut down = false;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if down => return Err(Rule::Link),
            b".." => up += 1,
            _ => down = true,
        }
    }
    if target.starts_with(b"/") || up + 1 > depth {
        return Err(Rule::Link);
    }
    Ok(())
}

/// Where symbolic links were put.
#[derive(Default)]
pub(super) struct Links {
    paths: HashSet<Vec<u8>>,
    bytes: usize,
}

impl Links {
    /// Whether one of the directories on the way is one.
    pub(super) fn leads_through(&self, parts: &[&[u8]]) -> bool {
        let ways = (1..parts.len()).filter_map(|end| parts.get(..end));
        !self.paths.is_empty()
            && ways
                .into_iter()
                .any(|way| self.paths.contains(&way.join(&b'/')))
    }

    pub(super) fn remember(&mut self, path: &[u8]) -> Result<(), Rule> {
        self.bytes += path.len() + 64;
        if self.bytes > MOST_LINKS {
            return Err(Rule::Links);
        }
        self.paths.insert(path.to_vec());
        Ok(())
    }

    /// Something else takes its place.
    pub(super) fn forget(&mut self, path: &[u8]) {
        self.paths.remove(path);
    }
}
