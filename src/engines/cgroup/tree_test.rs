//! Finding cgroups, on a host of fixtures (version 2) and by what processes say (both).

use super::*;

fn fixture() -> HostRoot {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    HostRoot::under(manifest.join("tests/fixtures/host"))
}

#[test]
fn both_drivers_places_are_found() {
    let tree = Tree::find(&fixture()).unwrap();
    assert!(matches!(tree, Tree::V2(_)));
    let (by_engine, by_systemd) = ("a".repeat(64), "b".repeat(64));
    assert_eq!(
        tree.running(),
        Some(vec![by_engine.clone(), by_systemd.clone()])
    );
    assert!(tree.usual(&by_engine).is_some() && tree.usual(&by_systemd).is_some());
    // Another parent: only a process of the container tells it.
    let (root, elsewhere) = (fixture(), "c".repeat(64));
    assert_eq!(tree.usual(&elsewhere), None);
    assert!(tree.of_process(&root, 4242, &elsewhere).is_some());
    assert_eq!(tree.of_process(&root, 4242, &by_engine), None);
    assert_eq!(tree.of_process(&root, 4243, &elsewhere), None);
}

/// The first process of a container is below the container's cgroup where an init system made cgroups of its own.
#[test]
fn the_containers_own_cgroup_is_read_and_none_below_it() {
    let id = "d".repeat(64);
    let text = format!("0::/custom.slice/docker-{id}.scope/init.scope\n");
    let tree = Tree::V2("/cg".into());
    let path = tree.parse(text.as_bytes()).paths[0].clone().unwrap();
    let own = of_container(&path, &id);
    assert_eq!(own, Some(format!("custom.slice/docker-{id}.scope").into()));
    assert_eq!(of_container(&path, &"e".repeat(64)), None);
    // Version 1 tells a path for each controller, and some may be another's.
    let folder = tempfile::tempdir().unwrap();
    let process = folder.path().join("proc/7");
    fs::create_dir_all(&process).unwrap();
    let text = format!("4:memory:/a/{id}/b/{id}\n3:cpu:/other\n2:pids:/a/{id}\n");
    fs::write(process.join("cgroup"), text).unwrap();
    let root = HostRoot::under(folder.path().to_owned());
    let place = Tree::V1("/cg".into()).of_process(&root, 7, &id).unwrap();
    let own = Some(format!("a/{id}").into());
    assert_eq!(place.paths, [None, None, own.clone(), None, own]);
}

#[test]
fn version_1_has_a_path_for_each_controller() {
    let tree = Tree::V1("/cg".into());
    let place = tree.parse(
        b"9:name=systemd:/docker/x\n8:pids:/docker/x\n4:memory:/mem/x\n2:cpuacct,cpu:/c\n0::/docker/x\n",
    );
    let folders = tree.folders(&place);
    let folders = folders.map(|folder| folder.map(|folder| folder.display().to_string()));
    assert_eq!(
        folders,
        [
            Some("/cg/cpuacct/c".to_owned()),
            Some("/cg/cpu/c".to_owned()),
            Some("/cg/memory/mem/x".to_owned()),
            None,
            Some("/cg/pids/docker/x".to_owned()),
        ]
    );
}

#[test]
fn what_a_process_says_leads_nowhere_else() {
    let tree = Tree::V2("/cg".into());
    for text in [
        &b""[..],
        b"0::/../../etc",
        b"x",
        b"0:",
        b"\xff::/a/../b",
        b"1:cpu:/a",
    ] {
        let place = tree.parse(text);
        assert!(
            place.paths.iter().all(Option::is_none),
            "{text:?}: {place:?}"
        );
    }
}

#[test]
fn a_host_without_cgroups_has_none() {
    assert_eq!(Tree::find(&HostRoot::under("/nowhere".into())), None);
    assert_eq!(Tree::V2("/nowhere".into()).running(), None);
}
