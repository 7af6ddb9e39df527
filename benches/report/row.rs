//! A row of the report, the table that people read and the file that programs read.

use std::{fs, path::PathBuf, process::ExitCode};

use serde::Serialize;

/// What a measurement must reach.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// Told for orientation.
    None,
}

/// One measurement. With a reference, the goal is of the ratio; without, of the value.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    pub(crate) reference: Option<f64>,
    pub(crate) goal: Goal,
}

#[derive(Serialize)]
struct Entry {
    id: &'static str,
    unit: &'static str,
    value: f64,
    reference: Option<f64>,
    ratio: Option<f64>,
    goal: Option<String>,
    holds: bool,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.reference.map(|reference| self.value / reference)
    }

    fn holds(&self) -> bool {
        let judged = self.ratio().unwrap_or(self.value);
        match self.goal {
            Goal::AtMost(limit) => judged <= limit,
            Goal::AtLeast(limit) => judged >= limit,
            Goal::None => true,
        }
    }

    fn goal_text(&self) -> Option<String> {
        let times = if self.reference.is_some() { " ×" } else { "" };
        match self.goal {
            Goal::AtMost(limit) => Some(format!("≤ {limit}{times}")),
            Goal::AtLeast(limit) => Some(format!("≥ {limit}{times}")),
            Goal::None => None,
        }
    }

    fn entry(&self) -> Entry {
        Entry {
            id: self.id,
            unit: self.unit,
            value: self.value,
            reference: self.reference,
            ratio: self.ratio(),
            goal: self.goal_text(),
            holds: self.holds(),
        }
    }
}

/// Everything that was measured in this run.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// Prints the table, writes the file, and says how it went.
    pub(crate) fn finish(self) -> ExitCode {
        println!();
        println!(
            "{:<58} {:>14} {:>14} {:>8}  {:<10} holds",
            "what", "value", "reference", "ratio", "goal"
        );
        for row in &self.rows {
            println!(
                "{:<58} {:>14} {:>14} {:>8}  {:<10} {}",
                format!("{} ({})", row.what, row.unit),
                number(row.value),
                row.reference.map_or_else(|| "–".to_owned(), number),
                row.ratio()
                    .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
                row.goal_text().unwrap_or_else(|| "–".to_owned()),
                if row.holds() { "yes" } else { "NO" },
            );
        }
        for failure in &self.failures {
            eprintln!("not measured: {failure}");
        }
        match self.write() {
            Ok(path) => println!("\n{}", path.display()),
            Err(error) => {
                eprintln!("the report could not be written: {error:#}");
                return ExitCode::from(2);
            }
        }
        if !self.failures.is_empty() || self.rows.is_empty() {
            ExitCode::from(2)
        } else if self.rows.iter().all(Row::holds) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn write(&self) -> anyhow::Result<PathBuf> {
        let folder = crate::process::target_folder().join("bench");
        fs::create_dir_all(&folder)?;
        let path = folder.join("report.json");
        let entries: Vec<Entry> = self.rows.iter().map(Row::entry).collect();
        fs::write(&path, serde_json::to_string_pretty(&entries)? + "\n")?;
        Ok(path)
    }
}

fn number(value: f64) -> String {
    if value >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

/// The middle one of what was measured; the mean of both middle ones would be nobody's.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
