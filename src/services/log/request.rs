//! What callers ask for, parsed.

use tonic::Status;

use crate::{
    engines::docker::{follow::Selection, merge::MOST, names::ContainerRef},
    proto::{LogSelection, OutputStream},
    services::{container::container_ref, error},
};

/// Labels that a container must have, at most.
const MOST_LABELS: usize = 100;
/// Bytes of a label's name or value, at most.
const LONGEST_LABEL: usize = 4 << 10;
/// The label that compose gives the containers of a project.
const PROJECT: &str = "com.docker.compose.project";

/// Whose logs.
#[derive(Debug, Clone)]
pub(super) enum Whose {
    /// Of this one container.
    One(ContainerRef),
    /// Of all that are selected.
    Many(Selection),
}

/// Reads the fields `container` and `selection`, of which one is set.
pub(super) fn whose(container: &str, selection: Option<LogSelection>) -> Result<Whose, Status> {
    match selection {
        None => Ok(Whose::One(container_ref(container)?)),
        Some(_) if !container.is_empty() => Err(error::invalid(
            "selection",
            container,
            "give either a container or a selection",
        )),
        Some(selection) => Ok(Whose::Many(self::selection(selection)?)),
    }
}

/// Reads a selection.
pub(super) fn selection(given: LogSelection) -> Result<Selection, Status> {
    let LogSelection {
        containers,
        mut labels,
        project,
        all,
    } = given;
    let by_label = !labels.is_empty() || !project.is_empty();
    let ways = [!containers.is_empty(), by_label, all];
    if ways.iter().filter(|way| **way).count() != 1 {
        return Err(error::invalid(
            "selection",
            "",
            "give exactly one of containers, labels with or without a project, and all",
        ));
    }
    if containers.len() > MOST {
        let mend = format!("give at most {MOST}");
        let given = containers.len().to_string();
        return Err(error::invalid("selection.containers", &given, mend));
    }
    if !containers.is_empty() {
        let names = containers.iter().map(|name| {
            name.parse()
                .map_err(|wrong| error::invalid("selection.containers", name, wrong))
        });
        return Ok(Selection::Names(names.collect::<Result<_, _>>()?));
    }
    if labels.len() > MOST_LABELS {
        let given = labels.len().to_string();
        return Err(error::invalid(
            "selection.labels",
            &given,
            "give at most 100",
        ));
    }
    let wrong = |text: &str| text.contains('\0') || text.len() > LONGEST_LABEL;
    for (name, value) in &labels {
        if name.is_empty() || name.contains('=') || wrong(name) || wrong(value) {
            return Err(error::invalid(
                "selection.labels",
                name,
                "a label's name is not empty and has no \"=\", and neither it nor its value has more than 4096 bytes",
            ));
        }
    }
    if !project.is_empty() {
        if wrong(&project) {
            let mend = "give the name of a compose project";
            return Err(error::invalid("selection.project", &project, mend));
        }
        labels.insert(PROJECT.to_owned(), project);
    }
    Ok(Selection::Labels(labels))
}

/// Reads the field `streams`: whether with standard output, and whether with standard error.
pub(super) fn streams(streams: &[i32]) -> Result<(bool, bool), Status> {
    let (mut stdout, mut stderr) = (streams.is_empty(), streams.is_empty());
    for stream in streams {
        match OutputStream::try_from(*stream) {
            Ok(OutputStream::Stdout) => stdout = true,
            Ok(OutputStream::Stderr) => stderr = true,
            Ok(OutputStream::Unspecified) | Err(_) => {
                return Err(error::invalid(
                    "streams",
                    &stream.to_string(),
                    "give OUTPUT_STREAM_STDOUT or OUTPUT_STREAM_STDERR",
                ));
            }
        }
    }
    Ok((stdout, stderr))
}

/// Reads a time, as nanoseconds since the Unix epoch.
pub(super) fn nanos(
    field: &str,
    time: Option<&prost_types::Timestamp>,
) -> Result<Option<i64>, Status> {
    let Some(time) = time else {
        return Ok(None);
    };
    let parse = || {
        let nanos = u32::try_from(time.nanos)
            .ok()
            .filter(|nanos| *nanos < 1_000_000_000)?;
        time.seconds
            .checked_mul(1_000_000_000)?
            .checked_add(i64::from(nanos))
    };
    parse().map(Some).ok_or_else(|| {
        let given = format!("{}.{:09}", time.seconds, time.nanos);
        error::invalid(field, &given, "give a time between the years 1678 and 2262")
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn labels(labels: &[(&str, &str)]) -> HashMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        labels.iter().map(owned).collect()
    }

    #[test]
    fn a_selection_is_one_of_its_ways() {
        let names = |names: &[&str]| LogSelection {
            containers: names.iter().map(|name| (*name).to_owned()).collect(),
            ..LogSelection::default()
        };
        let all = LogSelection {
            all: true,
            ..LogSelection::default()
        };
        let project = LogSelection {
            project: "shop".to_owned(),
            labels: labels(&[("tier", "")]),
            ..LogSelection::default()
        };
        assert_eq!(
            selection(all.clone()).unwrap(),
            Selection::Labels(HashMap::new())
        );
        assert_eq!(
            selection(project.clone()).unwrap(),
            Selection::Labels(labels(&[("tier", ""), (PROJECT, "shop")]))
        );
        assert!(
            matches!(selection(names(&["a", "b"])).unwrap(), Selection::Names(names) if names.len() == 2)
        );
        let both = LogSelection {
            all: true,
            ..names(&["a"])
        };
        let equals = LogSelection {
            labels: labels(&[("a=b", "c")]),
            ..LogSelection::default()
        };
        let long = LogSelection {
            labels: labels(&[("a", &"x".repeat(1 << 20))]),
            ..LogSelection::default()
        };
        for wrong in [
            LogSelection::default(),
            both,
            names(&["../x"]),
            names(&vec!["a"; 1001]),
            equals,
            long,
        ] {
            assert!(selection(wrong).is_err());
        }
        assert!(whose("a", Some(all)).is_err());
        assert!(whose("", None).is_err());
        assert!(matches!(whose("", Some(project)), Ok(Whose::Many(_))));
    }
}
