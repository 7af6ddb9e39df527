//! Which file systems the host has: its mounts without what is no disk, each device once.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use super::text::{lines, lossy, words};

/// File systems that are told, at most.
const MOST: usize = 256;
/// The longest text of a mount that is told, in bytes.
const TEXT: usize = 512;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where, on the host.
    pub(crate) point: PathBuf,
    /// The same as text.
    pub(crate) name: String,
    /// What.
    pub(crate) device: String,
    /// Its type.
    pub(crate) kind: String,
    /// It cannot be written to.
    pub(crate) read_only: bool,
    /// Major and minor number of the device.
    number: (u64, u64),
}

impl Mount {
    /// Whether a file with this device number lies on it. btrfs gives each subvolume a number of its own.
    pub(crate) fn holds(&self, device: u64) -> bool {
        let own = rustix::fs::makedev(self.number.0 as u32, self.number.1 as u32);
        own == device || self.kind == "btrfs"
    }
}

/// Types that hold no files of a disk, or those of another file system.
fn is_pseudo(kind: &[u8]) -> bool {
    const PSEUDO: [&[u8]; 33] = [
        b"autofs",
        b"bdev",
        b"binfmt_misc",
        b"bpf",
        b"cgroup",
        b"cgroup2",
        b"configfs",
        b"cpuset",
        b"debugfs",
        b"devpts",
        b"devtmpfs",
        b"efivarfs",
        b"fuse.gvfsd-fuse",
        b"fuse.lxcfs",
        b"fuse.portal",
        b"fusectl",
        b"hugetlbfs",
        b"mqueue",
        b"nsfs",
        b"overlay",
        b"pipefs",
        b"proc",
        b"pstore",
        b"ramfs",
        b"rootfs",
        b"rpc_pipefs",
        b"securityfs",
        b"selinuxfs",
        b"sockfs",
        b"squashfs",
        b"sysfs",
        b"tmpfs",
        b"tracefs",
    ];
    PSEUDO.contains(&kind)
}

/// Parses /proc/PID/mountinfo. Where a device is mounted more than once, the mount of its whole tree counts, and
/// of those the one with the shortest path.
pub(crate) fn mountinfo(text: &[u8]) -> Vec<Mount> {
    let mut found: Vec<(Mount, bool)> = Vec::new();
    for line in lines(text) {
        let Some((mount, whole)) = mount(line) else {
            continue;
        };
        let same = |(other, _): &&mut (Mount, bool)| {
            // Network file systems share numbers of no device; their names tell them apart.
            other.number == mount.number && other.device == mount.device
        };
        if let Some((other, other_whole)) = found.iter_mut().find(same) {
            let length = |mount: &Mount| mount.point.as_os_str().len();
            if (whole, length(other)) > (*other_whole, length(&mount)) {
                (*other, *other_whole) = (mount, whole);
            }
        } else if found.len() < MOST {
            found.push((mount, whole));
        }
    }
    found.into_iter().map(|(mount, _)| mount).collect()
}

/// "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
fn mount(line: &[u8]) -> Option<(Mount, bool)> {
    let mut words = words(line);
    let number = words.nth(2)?;
    let number = std::str::from_utf8(number).ok()?.split_once(':')?;
    let number = (number.0.parse().ok()?, number.1.parse().ok()?);
    let (root, point, options) = (words.next()?, words.next()?, words.next()?);
    let mut rest = words.skip_while(|word| *word != b"-").skip(1);
    let (kind, device) = (rest.next()?, rest.next()?);
    // A container's root is an overlay, and all that it has.
    let is_root = point == b"/" && kind == b"overlay";
    if is_pseudo(kind) && !is_root {
        return None;
    }
    let point = unescaped(point);
    let read_only = options.split(|byte| *byte == b',').any(|one| one == b"ro");
    let mount = Mount {
        name: lossy(&point, TEXT),
        point: PathBuf::from(OsString::from_vec(point)),
        device: lossy(&unescaped(device), TEXT),
        kind: lossy(kind, TEXT),
        read_only,
        number,
    };
    // It becomes a path below the host's root.
    let plain =
        |path: &Path| path.is_absolute() && !path.components().any(|c| c.as_os_str() == "..");
    plain(&mount.point).then_some((mount, root == b"/"))
}

/// Blanks and backslashes stand there as octal numbers.
fn unescaped(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        if *first == b'\\'
            && let Some((octal, after)) = after.split_at_checked(3)
            && let Ok(octal) = std::str::from_utf8(octal)
            && let Ok(byte) = u8::from_str_radix(octal, 8)
        {
            plain.push(byte);
            rest = after;
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
#[path = "mounts_test.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
