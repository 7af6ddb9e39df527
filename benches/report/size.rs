//! How large the agent's static, stripped binary is.

use std::fs;

use crate::{
    process::agent_binary,
    row::{Goal, Row},
};

pub(crate) fn measure() -> anyhow::Result<Vec<Row>> {
    let bytes = fs::metadata(agent_binary()?)?.len();
    Ok(vec![Row {
        id: "size.binary",
        what: "static binary, stripped",
        unit: "MiB",
        value: bytes as f64 / (1024.0 * 1024.0),
        reference: None,
        goal: Goal::AtMost(8.0),
    }])
}
