//! Holds the rules of ARCHITECTURE.md: which layer may name what, and how files are shaped.
//!
//! It reads sources as text: identifiers outside comments. A rule that a source breaks is reported
//! with file, line and reason, all at once.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Roots of hand-written Rust.
const ROOTS: &[&str] = &[
    "src",
    "crates",
    "control-planes",
    "tests",
    "benches",
    "build.rs",
];
const LONGEST_FILE: usize = 400;
/// Files that were longer when the rule came (2026-11-24): they may only shrink, and leave this list.
const STILL_LONGER: &[(&str, usize)] = &[("tests/it/docker_containers.rs", 491)];

struct Source {
    path: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for start in ROOTS {
        collect(root, &root.join(start), &mut found);
    }
    assert!(
        found.len() > 20,
        "only {} sources found: has the layout changed?",
        found.len()
    );
    found
}

fn collect(root: &Path, path: &Path, found: &mut Vec<Source>) {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.ends_with("target") && !path.ends_with("node_modules"))
            .collect();
        entries.sort();
        for entry in entries {
            collect(root, &entry, found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        found.push(Source {
            path: path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
            text: fs::read_to_string(path).unwrap(),
        });
    }
}

/// The identifiers of a line, what follows `//` left out.
fn identifiers(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// Every place in sources below `layer` that names one of `banned`.
fn naming(sources: &[Source], layer: &str, banned: &[&str], reason: &str) -> Vec<String> {
    let inside: Vec<&Source> = sources
        .iter()
        .filter(|source| source.path.starts_with(layer))
        .collect();
    assert!(
        !inside.is_empty(),
        "{layer} has no sources: has the layout changed?"
    );
    let mut broken = Vec::new();
    for source in inside {
        for (number, line) in source.text.lines().enumerate() {
            for word in identifiers(line).filter(|word| banned.contains(word)) {
                broken.push(format!(
                    "{}:{}: names `{word}`: {reason}",
                    source.path,
                    number + 1
                ));
            }
        }
    }
    broken
}

#[track_caller]
fn assert_none(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn engines_know_no_transport_and_no_contract() {
    assert_none(&naming(
        &sources(),
        "src/engines/",
        &[
            "tonic",
            "tonic_types",
            "prost",
            "prost_types",
            "tungstenite",
            "tokio_tungstenite",
            "proto",
        ],
        "engines speak to Docker, processes and the host in types of their own",
    ));
}

#[test]
fn services_know_no_engine_library() {
    assert_none(&naming(
        &sources(),
        "src/services/",
        &[
            "bollard",
            "russh",
            "tungstenite",
            "tokio_tungstenite",
            "procfs",
        ],
        "services translate between the contract and `engines`",
    ));
}

#[test]
fn the_tunnel_knows_no_service() {
    let sources = sources();
    let mut broken = naming(
        &sources,
        "crates/tunnel/src/",
        &[
            "turbopanel_agent",
            "turbopanel_control_plane",
            "bollard",
            "rusqlite",
        ],
        "the tunnel carries any gRPC service",
    );
    for source in sources
        .iter()
        .filter(|source| source.path.starts_with("crates/tunnel/src/"))
    {
        for package in ["turbopanel.agent.", "turbopanel.control."] {
            if source.text.contains(package) {
                broken.push(format!("{}: names the package `{package}`", source.path));
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn the_control_plane_uses_the_agent_only_where_it_is_integrated() {
    let outside: Vec<Source> = sources()
        .into_iter()
        .filter(|source| {
            !source
                .path
                .split(['/', '.'])
                .any(|part| part == "integrated")
        })
        .collect();
    assert_none(&naming(
        &outside,
        "control-planes/server/src/",
        &["turbopanel_agent"],
        "everything but the integrated agent goes through proto/",
    ));
}

#[test]
fn every_file_says_what_it_is_for_and_is_short() {
    let mut broken = Vec::new();
    for Source { path, text } in sources() {
        if !text.starts_with("//! ") {
            broken.push(format!("{path}: does not open with `//!`"));
        }
        let lines = text.lines().count();
        let limit = STILL_LONGER
            .iter()
            .find_map(|(longer, limit)| (*longer == path).then_some(*limit))
            .unwrap_or(LONGEST_FILE);
        if lines > limit {
            broken.push(format!(
                "{path}: has {lines} lines, more than {limit}; split it by concept"
            ));
        }
    }
    assert_none(&broken);
}

#[test]
fn no_module_is_named_after_nothing() {
    let banned = BTreeSet::from([
        "util", "utils", "common", "helper", "helpers", "misc", "shared",
    ]);
    let broken: Vec<String> = sources()
        .iter()
        .filter(|source| {
            source
                .path
                .split(['/', '.'])
                .any(|part| banned.contains(part))
        })
        .map(|source| format!("{}: name it after what it holds", source.path))
        .collect();
    assert_none(&broken);
}
