//! Temperatures, from /sys/class/hwmon, or from the thermal zones where there are none.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    kept::read_once,
    root::HostRoot,
    text::{lossy, number},
};

/// Temperatures that are told, at most.
const MOST: usize = 256;
const NAME: usize = 128;

/// A temperature, in thousandths of a degree Celsius.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Temperature {
    /// The kind of chip, or the type of the zone. Several chips may be of one kind.
    pub chip: String,
    /// What it measures. Empty: it does not say.
    pub label: String,
    /// Which chip, or which zone: as node_exporter names them.
    pub device: String,
    /// Which sensor of the chip. Empty: this is a zone.
    pub sensor: String,
    /// Now.
    pub celsius: i64,
    /// High from here on.
    pub high: Option<i64>,
    /// Critical from here on.
    pub critical: Option<i64>,
}

/// Reads them all. A chip may take its time: this is for a thread that may be held.
pub(crate) fn read(root: &HostRoot) -> Vec<Temperature> {
    let mut found = Vec::new();
    for chip in entries(&root.sys("class/hwmon"), "hwmon") {
        let name = word(&chip.join("name")).unwrap_or_default();
        let device = device(&chip, &name);
        for input in entries(&chip, "temp") {
            let Some(file) = input.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let Some(sensor) = file.strip_suffix("_input") else {
                continue;
            };
            let beside = |what: &str| chip.join(format!("{sensor}_{what}"));
            let Some(celsius) = millis(&input) else {
                continue;
            };
            found.push(Temperature {
                chip: name.clone(),
                label: word(&beside("label")).unwrap_or_default(),
                device: device.clone(),
                sensor: lossy(sensor.as_bytes(), NAME),
                celsius,
                high: millis(&beside("max")),
                critical: millis(&beside("crit")),
            });
        }
    }
    if found.is_empty() {
        for zone in entries(&root.sys("class/thermal"), "thermal_zone") {
            if let Some(celsius) = millis(&zone.join("temp")) {
                found.push(Temperature {
                    chip: word(&zone.join("type")).unwrap_or_default(),
                    device: last_part(&zone),
                    celsius,
                    ..Temperature::default()
                });
            }
        }
    }
    found.truncate(MOST);
    found
}

/// Which of several chips of one kind: by the device that it belongs to, which has the same name after a restart.
fn device(chip: &Path, name: &str) -> String {
    let device = fs::canonicalize(chip.join("device")).unwrap_or_default();
    let kind = device.parent().map(last_part).unwrap_or_default();
    match (plain(&kind), plain(&last_part(&device)), plain(name)) {
        (kind, device, _) if !kind.is_empty() && !device.is_empty() => format!("{kind}_{device}"),
        (_, device, _) if !device.is_empty() => device,
        (_, _, name) if !name.is_empty() => name,
        _ => last_part(chip),
    }
}

fn last_part(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    lossy(name.as_encoded_bytes(), NAME)
}

/// Small letters, digits, colons, and underscores for all else.
fn plain(name: &str) -> String {
    let fits = |char: char| char.is_ascii_alphanumeric() || char == ':';
    let chars = name.chars();
    let plain: String = chars
        .map(|char| {
            if fits(char) {
                char.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    plain.trim_matches('_').to_owned()
}

fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(listed) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = listed
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(prefix))
        })
        .take(MOST)
        .collect();
    paths.sort_unstable();
    paths
}

fn word(file: &Path) -> Option<String> {
    let bytes = read_once(file).ok()?;
    Some(lossy(bytes.trim_ascii(), NAME))
}

/// A chip that is broken says what cannot be.
fn millis(file: &Path) -> Option<i64> {
    let bytes = read_once(file).ok()?;
    let text = bytes.trim_ascii();
    let (sign, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let millis = i64::try_from(number(digits)?).ok()?.checked_mul(sign)?;
    (-273_150..=1_000_000).contains(&millis).then_some(millis)
}

#[cfg(test)]
#[path = "sensors_test.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
