//! Measures the agent and the tunnel against what they replace, side by side in one run.
//!
//! `make bench` builds the release binaries and calls this. It prints a table, writes
//! `target/bench/report.json` (an array of `{id, value, reference, ratio, goal, holds}`), and ends with
//! exit code 1 when a goal is missed, 2 when a measurement could not be made. Arguments choose rows
//! by the beginning of their id: `cargo bench -p turbopanel-bench -- logs size`.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod agent;
mod echo;
mod followmany;
mod idle;
mod logfile;
mod logs;
mod metrics;
mod plane;
mod process;
mod row;
mod search;
mod serve;
mod size;
mod start;
mod tunnel;

use std::process::ExitCode;

use row::{Report, Row};

/// A group of rows that are measured together, by the beginning of their ids.
struct Group {
    id: &'static str,
    measure: fn() -> anyhow::Result<Vec<Row>>,
}

const GROUPS: &[Group] = &[
    Group {
        id: "tunnel",
        measure: tunnel::measure,
    },
    Group {
        id: "serve",
        measure: serve::measure,
    },
    Group {
        id: "size",
        measure: size::measure,
    },
    Group {
        id: "start",
        measure: start::measure,
    },
    Group {
        id: "idle",
        measure: idle::measure,
    },
    Group {
        id: "logs",
        measure: logs::measure,
    },
    Group {
        id: "logfile",
        measure: logfile::measure,
    },
    Group {
        id: "search",
        measure: search::measure,
    },
    Group {
        id: "followmany",
        measure: followmany::measure,
    },
    Group {
        id: "metrics",
        measure: metrics::measure,
    },
];

fn main() -> ExitCode {
    // `cargo bench` adds `--bench`.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let mut report = Report::default();
    for group in GROUPS {
        if !wanted.is_empty()
            && !wanted
                .iter()
                .any(|wanted| group.id.starts_with(wanted.as_str()))
        {
            continue;
        }
        eprintln!("measuring {} …", group.id);
        match (group.measure)() {
            Ok(rows) => report.rows.extend(rows),
            Err(error) => report.failures.push(format!("{}: {error:#}", group.id)),
        }
    }
    report.finish()
}
