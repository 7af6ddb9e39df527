//! `docs/metrics.md` lists what `/metrics` says, and nothing else.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use super::*;
use crate::engines::{
    host::{
        Cpu, DeviceIo, DiskIo, FileSystem, HostSample, Load, Memory, Pressure, Space, Temperature,
        Traffic, Usage,
    },
    metrics::{ContainerRow, ContainerSample, Source},
    process::own::Own,
};

const LIST: &str = include_str!("../../../../docs/metrics.md");

/// Every figure that there is.
fn everything() -> String {
    let full = [Some(1); 40];
    let mut sample = HostSample::empty(UNIX_EPOCH, Duration::ZERO);
    sample.cpu = Cpu::from_values(&full);
    sample.cores = vec![(0, Cpu::from_values(&full))];
    sample.load = Load::from_values(&full);
    sample.pressure = [Pressure::from_values(&full); 3];
    sample.memory = Memory::from_values(&full);
    sample.file_systems = vec![FileSystem {
        mount_point: "/".to_owned(),
        device: "/dev/sda".to_owned(),
        kind: "ext4".to_owned(),
        read_only: true,
        space: Space::from_values(&full),
    }];
    sample.disks = vec![("sda".to_owned(), DiskIo::from_values(&full))];
    sample.interfaces = vec![("eth0".to_owned(), Traffic::from_values(&full))];
    let chip = Temperature {
        chip: "nvme".to_owned(),
        label: "Composite".to_owned(),
        device: "nvme_nvme0".to_owned(),
        sensor: "temp1".to_owned(),
        celsius: 1,
        high: Some(2),
        critical: Some(3),
    };
    let zone = Temperature {
        chip: "acpitz".to_owned(),
        device: "thermal_zone0".to_owned(),
        ..Temperature::default()
    };
    sample.temperatures = vec![chip, zone];
    let device = DeviceIo {
        name: "sda".to_owned(),
        read_bytes: Some(1),
        written_bytes: Some(1),
        reads: Some(1),
        writes: Some(1),
        ..DeviceIo::default()
    };
    let row = ContainerRow {
        id: Arc::from("a"),
        name: Arc::from("web"),
        source: Source::Cgroup,
        usage: Usage::from_values(&full),
        devices: vec![device],
    };
    let found = ContainerSample {
        time: UNIX_EPOCH,
        tick: Duration::ZERO,
        rows: vec![row],
        missing: Vec::new(),
    };
    let figures = Figures {
        name: "web-2".to_owned(),
        mode: "websocket",
        connected: true,
        engine_reachable: true,
        calls_running: 1,
        streams: 1,
        history_bytes: 1,
        missing_sources: 1,
        connects: 1,
        calls: 1,
        received_bytes: 1,
        sent_bytes: 1,
        process: Own {
            cpu: Some(1),
            resident: Some(1),
            open_files: Some(1),
        },
        started: Some(1.0),
    };
    let mut text = Exposition::default();
    host::write(&mut text, &sample);
    containers::write(&mut text, &found);
    own::write(&mut text, &figures);
    text.finish()
}

/// Type and labels of each family.
fn families(text: &str) -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    let mut kind = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.split_once(' ').unwrap().1;
        } else if !line.starts_with('#') {
            let end = line.find(['{', ' ']).unwrap();
            let (name, rest) = line.split_at(end);
            let labels = rest.strip_prefix('{').unwrap_or_default();
            // No value here holds a comma or a brace.
            let labels = labels.split('}').next().unwrap().split(',');
            let names: Vec<_> = labels.filter_map(|label| label.split_once('=')).collect();
            let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
            let told = (kind.to_owned(), names.join(", "));
            found.insert(name.to_owned(), told);
        }
    }
    found
}

/// The unit that a name says.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name {
        "container_memory_rss" | "container_memory_cache" | "container_memory_swap" => "bytes",
        "node_thermal_zone_temp" => "°C",
        _ if name.ends_with("_bytes") => "bytes",
        _ if name.ends_with("_seconds") => "seconds",
        _ if name.ends_with("_celsius") => "°C",
        _ => "",
    }
}

#[test]
fn the_list_holds_what_is_told_and_nothing_else() {
    let mut listed = BTreeMap::new();
    for line in LIST.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, measured, labels, source, _] = cells[..] else {
            panic!("not five cells: {line}");
        };
        let name = name.trim_matches('`').to_owned();
        let said = unit(&name);
        assert!(!measured.is_empty() && !source.is_empty(), "{line}");
        assert!(said.is_empty() || said == measured, "{line}");
        let told = (kind.to_owned(), labels.to_owned());
        assert!(listed.insert(name, told).is_none(), "twice: {line}");
    }
    assert_eq!(listed, families(&everything()));
}
