//! Labels: what callers may give, and how much of them an answer has room for.

use std::collections::HashMap;

use tonic::Status;

use super::error;

/// Labels of one thing in an answer, in bytes, at most: a message has 4 MiB.
const MOST: usize = 1 << 20;

/// Refuses what is no label.
pub(super) fn check(labels: &HashMap<String, String>) -> Result<(), Status> {
    match labels
        .keys()
        .find(|key| key.is_empty() || key.contains(['=', '\0']))
    {
        Some(key) => Err(error::invalid(
            "labels",
            key,
            "a label's name is not empty and has no \"=\"",
        )),
        None => Ok(()),
    }
}

/// The labels, or that they were too long.
pub(super) fn bounded(labels: HashMap<String, String>) -> (HashMap<String, String>, bool) {
    let size: usize = labels.iter().map(|(k, v)| k.len() + v.len()).sum();
    if size > MOST + MOST / 16 {
        (HashMap::new(), true)
    } else {
        (labels, false)
    }
}
