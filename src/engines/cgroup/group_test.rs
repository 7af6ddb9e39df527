//! Readings of version 2 from fixtures: as kernels write them, without some files, and with surprising contents.

use std::path::Path;

use super::*;

fn host() -> HostRoot {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    HostRoot::under(manifest.join("tests/fixtures/host"))
}

fn read(group: &mut Group) -> (Result<Usage, Trouble>, Vec<Missing>) {
    let mut missing = Vec::new();
    (group.read(&mut Vec::new(), None, &mut missing), missing)
}

#[test]
fn version_2_is_read_whole() {
    let (root, id) = (host(), "a".repeat(64));
    let tree = Tree::find(&root).unwrap();
    let place = tree.usual(&id).unwrap();
    for keep in [true, false] {
        let mut group = Group::new(&tree, &place, &root, Some(4242), keep);
        // The second reading is of files that are open.
        for _ in 0..2 {
            let (usage, missing) = read(&mut group);
            let usage = usage.unwrap();
            assert_eq!(missing, []);
            assert_eq!(
                (usage.cpu, usage.cpu_system),
                (Some(5_000_000_000), Some(2_000_000_000))
            );
            assert_eq!(
                (usage.throttled_periods, usage.throttled),
                (Some(4), Some(250_000_000))
            );
            assert_eq!(
                (usage.memory, usage.working_set),
                (Some(104_857_600), Some(74_857_600))
            );
            assert_eq!(
                (usage.anonymous, usage.cache),
                (Some(60_000_000), Some(40_000_000))
            );
            assert_eq!(
                (usage.memory_limit, usage.swap),
                (Some(268_435_456), Some(4096))
            );
            assert_eq!(
                (usage.read_bytes, usage.written_bytes),
                (Some(1010), Some(2020))
            );
            assert_eq!((usage.reads, usage.writes), (Some(4), Some(5)));
            assert_eq!((usage.pids, usage.pids_limit), (Some(7), None));
            assert_eq!((usage.rx_bytes, usage.tx_packets), (Some(1030), Some(24)));
        }
    }
}

#[test]
fn devices_are_told_when_they_are_asked_for() {
    let (root, id) = (host(), "a".repeat(64));
    let tree = Tree::find(&root).unwrap();
    let place = tree.usual(&id).unwrap();
    let mut group = Group::new(&tree, &place, &root, None, true);
    let (mut devices, mut missing) = (Vec::new(), Vec::new());
    let usage = group.read(&mut Vec::new(), Some(&mut devices), &mut missing);
    let usage = usage.unwrap();
    assert!(devices.len() > 1, "{devices:?}");
    // A device on which only was discarded has none of these.
    let sum = |figure: fn(&DeviceIo) -> Option<u64>| Some(devices.iter().filter_map(figure).sum());
    assert_eq!(usage.read_bytes, sum(|one| one.read_bytes));
    assert_eq!(usage.written_bytes, sum(|one| one.written_bytes));
    assert_eq!(usage.reads, sum(|one| one.reads));
    assert_eq!(usage.writes, sum(|one| one.writes));
}

#[test]
fn surprising_contents_are_absent_figures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/surprising");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let tree = Tree::V2(entry.unwrap().path());
        let place = tree.parse(b"0::/");
        let mut group = Group::new(&tree, &place, &HostRoot::default(), None, true);
        let (usage, _) = read(&mut group);
        let usage = usage.unwrap();
        let Tree::V2(path) = &tree else { continue };
        let expected = match path.file_name().and_then(|name| name.to_str()) {
            Some("truncated") => Usage {
                cpu: Some(5_000_000_000),
                memory: Some(1048),
                anonymous: Some(60_000_000),
                cache: Some(400),
                read_bytes: Some(1000),
                written_bytes: Some(20),
                reads: Some(0),
                writes: Some(0),
                ..Usage::default()
            },
            Some("words") => Usage {
                reads: None,
                writes: Some(0),
                ..Usage::default()
            },
            // A file of I/O without a device counts none.
            _ => Usage {
                read_bytes: Some(0),
                written_bytes: Some(0),
                reads: Some(0),
                writes: Some(0),
                ..Usage::default()
            },
        };
        assert_eq!(usage, expected, "{path:?}");
        seen += 1;
    }
    assert_eq!(seen, 7);
}

#[test]
fn missing_files_are_absent_and_a_missing_cgroup_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let tree = Tree::V2(folder.path().to_owned());
    let place = tree.parse(b"0::/box");
    let mut group = Group::new(&tree, &place, &HostRoot::default(), None, true);
    assert_eq!(read(&mut group).0, Err(Trouble::Gone));
    let own = folder.path().join("box");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("pids.current"), "5").unwrap();
    let (usage, missing) = read(&mut group);
    let expected = Usage {
        pids: Some(5),
        ..Usage::default()
    };
    assert_eq!((usage, missing), (Ok(expected), vec![]));
    // A file that cannot be read is told.
    std::fs::create_dir(own.join("cpu.stat")).unwrap();
    let (_, missing) = read(&mut group);
    assert!(missing[0].source.ends_with("cpu.stat"), "{missing:?}");
}
