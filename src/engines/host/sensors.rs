//! Temperatures, from /sys/class/hwmon, or from the thermal zones where there are none.

use std::{fs, path::Path};

use super::{
    root::HostRoot,
    text::{lossy, number},
};

/// Temperatures that are told, at most.
const MOST: usize = 256;
const NAME: usize = 128;

/// A temperature, in thousandths of a degree Celsius.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Temperature {
    /// The chip or zone.
    pub chip: String,
    /// What it measures. Empty: it does not say.
    pub label: String,
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
                    label: String::new(),
                    celsius,
                    high: None,
                    critical: None,
                });
            }
        }
    }
    found.truncate(MOST);
    found
}

fn entries(folder: &Path, prefix: &str) -> Vec<std::path::PathBuf> {
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
    let bytes = fs::read(file).ok()?;
    Some(lossy(bytes.trim_ascii(), NAME))
}

/// A chip that is broken says what cannot be.
fn millis(file: &Path) -> Option<i64> {
    let bytes = fs::read(file).ok()?;
    let text = bytes.trim_ascii();
    let (sign, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let millis = i64::try_from(number(digits)?).ok()?.checked_mul(sign)?;
    (-273_150..=1_000_000).contains(&millis).then_some(millis)
}
