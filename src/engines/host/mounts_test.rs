//! Mounts as hosts have them.

use super::*;

const MOUNTINFO: &[u8] = include_bytes!("../../../tests/fixtures/host/proc/1/mountinfo");

#[test]
fn disks_and_network_mounts_are_told_once() {
    let found = mountinfo(MOUNTINFO);
    let told: Vec<_> = found
        .iter()
        .map(|mount| (&*mount.name, &*mount.device))
        .collect();
    assert_eq!(
        told,
        [
            ("/", "/dev/sda1"),
            ("/srv/with blank", "/dev/sdb1"),
            ("/mnt/backup", "server:/export"),
            // The whole tree, though its path is longer.
            ("/data/whole", "/dev/sdc1"),
        ]
    );
    assert!(found[1].read_only && !found[0].read_only);
    assert!(
        found[0].holds(rustix::fs::makedev(8, 1)) && !found[0].holds(rustix::fs::makedev(8, 2))
    );
}

#[test]
fn lines_that_make_no_sense_are_left_out() {
    let text = b"\n1 2\n1 2 x:y / / rw - ext4 a rw\n1 2 8:1 / relative rw - ext4 a rw\n\
        1 2 8:1 / /a rw - ext4\n1 2 8:1 / /b\\777\\0 rw,ro - ext4 \xff rw\n1 2 8:2 / /c rw shared:1";
    let found = mountinfo(text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (&*found[0].name, &*found[0].device),
        ("/b\\777\\0", "\u{fffd}")
    );
    assert!(found[0].read_only);
}

#[test]
fn a_host_with_thousands_of_mounts_is_cut_off() {
    let line = |n: usize| format!("1 2 8:{n} / /m{n} rw - ext4 /dev/x{n} rw\n");
    let text: String = (0..3000).map(line).collect();
    assert_eq!(mountinfo(text.as_bytes()).len(), MOST);
}
