//! What callers ask for, parsed.

use tonic::Status;

use super::{download::Form, filter::Filter, search::Search};
use crate::{
    engines::docker::{
        container::PROJECT,
        follow::{MergeRequest, Selection},
        merge::MOST,
        names::ContainerRef,
    },
    proto::{
        DownloadLogsRequest, LogSelection, OutputStream, SearchLogsRequest,
        download_logs_request::Format, search_logs_request::Order,
    },
    services::{container::container_ref, error, time},
};

/// Labels that a container must have, at most.
const MOST_LABELS: usize = 100;
/// Bytes of a label's name or value, at most.
const LONGEST_LABEL: usize = 4 << 10;
/// Matches, at most.
const MOST_MATCHES: usize = 10_000;
/// Matches, when nothing else is asked for.
const DEFAULT_MATCHES: usize = 100;
/// Lines before or after a match, at most.
const MOST_AROUND: usize = 100;
const MOST_SERVICES: usize = 100;

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
        services,
        all,
    } = given;
    if !services.is_empty() && project.is_empty() {
        let mend = "services are those of a project: give it, too";
        let first = services.first().map_or("", String::as_str);
        return Err(error::invalid("selection.services", first, mend));
    }
    if services.len() > MOST_SERVICES {
        let given = services.len().to_string();
        let mend = "give at most 100";
        return Err(error::invalid("selection.services", &given, mend));
    }
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
    Ok(match services.is_empty() {
        true => Selection::Labels(labels),
        false => Selection::Services(labels, services),
    })
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
    time.map(|time| time::nanos(field, time)).transpose()
}

/// A range of the selected logs as they are stored.
pub(super) fn stored(
    selection: Option<LogSelection>,
    streams: &[i32],
    since: Option<&prost_types::Timestamp>,
    until: Option<&prost_types::Timestamp>,
) -> Result<MergeRequest, Status> {
    let (stdout, stderr) = self::streams(streams)?;
    Ok(MergeRequest {
        selection: self::selection(selection.unwrap_or_default())?,
        follow: false,
        tail: None,
        since: nanos("since", since)?,
        until: nanos("until", until)?,
        stdout,
        stderr,
        places: None,
    })
}

/// Reads what is to be searched for.
pub(super) fn search(asked: SearchLogsRequest) -> Result<Search, Status> {
    let newest = match Order::try_from(asked.order) {
        Ok(Order::Unspecified | Order::NewestFirst) => true,
        Ok(Order::OldestFirst) => false,
        Err(_) => {
            let given = asked.order.to_string();
            return Err(error::invalid(
                "order",
                &given,
                "give one of the values of Order",
            ));
        }
    };
    let most = |field: &str, given: u32, most: usize| {
        let count = usize::try_from(given).unwrap_or(usize::MAX);
        match count <= most {
            true => Ok(count),
            false => Err(error::invalid(
                field,
                &given.to_string(),
                format!("give at most {most}"),
            )),
        }
    };
    let mut filter = Filter::parse(asked.filter, asked.with_levels)?;
    if !asked.pattern.is_empty() {
        filter = filter.and("pattern", &asked.pattern)?;
    }
    if !filter.chooses() {
        return Err(error::invalid(
            "pattern",
            "",
            "give a pattern or a filter to search for",
        ));
    }
    Ok(Search {
        range: stored(
            asked.selection,
            &asked.streams,
            asked.since.as_ref(),
            asked.until.as_ref(),
        )?,
        filter: filter.into(),
        before: most("before_lines", asked.before_lines, MOST_AROUND)?,
        after: most("after_lines", asked.after_lines, MOST_AROUND)?,
        limit: match most("limit", asked.limit, MOST_MATCHES)? {
            0 => DEFAULT_MATCHES,
            limit => limit,
        },
        newest,
        with_fields: asked.with_fields,
    })
}

/// Reads how a file is to be written.
pub(super) fn form(asked: &DownloadLogsRequest) -> Result<Form, Status> {
    let json = match Format::try_from(asked.format) {
        Ok(Format::Unspecified | Format::Text) => false,
        Ok(Format::JsonLines) => true,
        Err(_) => {
            let given = asked.format.to_string();
            return Err(error::invalid(
                "format",
                &given,
                "give one of the values of Format",
            ));
        }
    };
    Ok(Form {
        json,
        times: asked.with_times,
        names: asked.with_names,
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
        let services = |services: &[&str]| LogSelection {
            services: services.iter().map(|name| (*name).to_owned()).collect(),
            ..project.clone()
        };
        assert!(
            matches!(selection(services(&["web"])).unwrap(), Selection::Services(labels, names) if labels.len() == 2 && names == ["web"])
        );
        let alone = LogSelection {
            project: String::new(),
            ..services(&["web"])
        };
        assert!(selection(alone).is_err());
        assert!(selection(services(&["web"; MOST_SERVICES + 1])).is_err());
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
