//! Samples as rows of figures and back. What is not kept: processes, what containers did on
//! each device, and why figures were missing.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    ContainerRow, ContainerSample, Source, Step,
    codec::{Key, Row, Times},
};
use crate::engines::host::{
    Cpu, DiskIo, FileSystem, HostSample, Load, Memory, Pressure, Space, Temperature, Traffic, Usage,
};

const CPU: u8 = 0;
const CORE: u8 = 1;
const LOAD: u8 = 2;
const PRESSURE: u8 = 3;
const MEMORY: u8 = 4;
const FILE_SYSTEM: u8 = 5;
const DISK: u8 = 6;
const INTERFACE: u8 = 7;
/// Containers were read; there may be none.
const CONTAINERS: u8 = 8;
const BY_CGROUP: u8 = 9;
const BY_ENGINE: u8 = 10;
const TEMPERATURE: u8 = 11;

/// Between the texts of a name. None of them can hold it, or what follows is cut off.
const BREAK: char = '\0';

pub(super) fn times(step: &Step) -> Times {
    let since = step.host.time.duration_since(UNIX_EPOCH);
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Times {
        // A clock before 1970 is wrong in any case.
        time: since.map(nanos).unwrap_or(0),
        tick: nanos(step.host.tick),
    }
}

fn row(kind: u8, name: impl Into<String>, values: &[Option<u64>]) -> Row {
    let name = name.into();
    Row {
        key: Key { kind, name },
        values: values.to_vec(),
    }
}

pub(super) fn from_step(step: &Step) -> Vec<Row> {
    let host = &step.host;
    let mut rows = vec![
        row(CPU, "", &host.cpu.values()),
        row(LOAD, "", &host.load.values()),
        row(MEMORY, "", &host.memory.values()),
    ];
    rows.extend(
        host.cores
            .iter()
            .map(|(number, cpu)| row(CORE, number.to_string(), &cpu.values())),
    );
    for (index, pressure) in host.pressure.iter().enumerate() {
        if *pressure != Pressure::default() {
            rows.push(row(PRESSURE, index.to_string(), &pressure.values()));
        }
    }
    for system in &host.file_systems {
        let mode = if system.read_only { "ro" } else { "rw" };
        let texts = [&*system.mount_point, &system.device, &system.kind, mode];
        let name = texts.join(&BREAK.to_string());
        rows.push(row(FILE_SYSTEM, name, &system.space.values()));
    }
    let disks = host.disks.iter();
    rows.extend(disks.map(|(name, io)| row(DISK, name, &io.values())));
    let interfaces = host.interfaces.iter();
    rows.extend(interfaces.map(|(name, traffic)| row(INTERFACE, name, &traffic.values())));
    for found in &host.temperatures {
        let texts = [&*found.chip, &found.label, &found.device, &found.sensor];
        // Below zero is far above in whole numbers without a sign, and back again.
        let number = |millis: i64| millis as u64;
        let values = [
            Some(number(found.celsius)),
            found.high.map(number),
            found.critical.map(number),
        ];
        rows.push(row(TEMPERATURE, texts.join(&BREAK.to_string()), &values));
    }
    if let Some(containers) = &step.containers {
        rows.push(row(CONTAINERS, "", &[]));
        rows.extend(containers.rows.iter().map(|one| {
            let kind = match one.source {
                Source::Cgroup => BY_CGROUP,
                Source::Engine => BY_ENGINE,
            };
            let name = format!("{}{BREAK}{}", one.id, one.name);
            row(kind, name, &one.usage.values())
        }));
    }
    rows
}

pub(super) fn to_step(times: Times, rows: Vec<Row>) -> Step {
    let time = UNIX_EPOCH + Duration::from_nanos(times.time);
    let tick = Duration::from_nanos(times.tick);
    let mut host = HostSample::empty(time, tick);
    let mut containers: Option<ContainerSample> = None;
    for Row { key, values } in rows {
        let mut texts = key.name.split(BREAK);
        let mut text = || texts.next().unwrap_or_default();
        match key.kind {
            CPU => host.cpu = Cpu::from_values(&values),
            CORE => {
                if let Ok(number) = key.name.parse() {
                    host.cores.push((number, Cpu::from_values(&values)));
                }
            }
            LOAD => host.load = Load::from_values(&values),
            PRESSURE => {
                let index = key.name.parse::<usize>().ok();
                if let Some(pressure) = index.and_then(|index| host.pressure.get_mut(index)) {
                    *pressure = Pressure::from_values(&values);
                }
            }
            MEMORY => host.memory = Memory::from_values(&values),
            FILE_SYSTEM => host.file_systems.push(FileSystem {
                mount_point: text().to_owned(),
                device: text().to_owned(),
                kind: text().to_owned(),
                read_only: text() == "ro",
                space: Space::from_values(&values),
            }),
            DISK => host.disks.push((key.name, DiskIo::from_values(&values))),
            INTERFACE => host
                .interfaces
                .push((key.name, Traffic::from_values(&values))),
            TEMPERATURE => {
                let mut values = values.into_iter().map(|value| Some(value? as i64));
                let mut value = || values.next().flatten();
                if let Some(celsius) = value() {
                    host.temperatures.push(Temperature {
                        chip: text().to_owned(),
                        label: text().to_owned(),
                        device: text().to_owned(),
                        sensor: text().to_owned(),
                        celsius,
                        high: value(),
                        critical: value(),
                    });
                }
            }
            CONTAINERS | BY_CGROUP | BY_ENGINE => {
                let sample = containers.get_or_insert_with(|| ContainerSample {
                    time,
                    tick,
                    rows: Vec::new(),
                    missing: Vec::new(),
                });
                if key.kind == CONTAINERS {
                    continue;
                }
                let source = match key.kind {
                    BY_CGROUP => Source::Cgroup,
                    _ => Source::Engine,
                };
                sample.rows.push(ContainerRow {
                    id: Arc::from(text()),
                    name: Arc::from(text()),
                    source,
                    usage: Usage::from_values(&values),
                    devices: Vec::new(),
                });
            }
            _ => {}
        }
    }
    Step { host, containers }
}
