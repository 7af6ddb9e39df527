//! Between the engine's events and the contract's.

use tonic::Status;

use crate::{
    engines::docker::events::{EventRequest, Happening},
    proto::{
        EngineEvent, EventsInterrupted, EventsResumed, StreamEventsRequest, StreamEventsResponse,
        stream_events_response::Step,
    },
    services::{error::invalid, labels, time::nanos},
};

/// Values of all filters together, at most: they travel in a URL.
const FILTERS: usize = 200;

pub(super) fn parse(request: StreamEventsRequest) -> Result<EventRequest, Status> {
    labels::check(&request.labels)?;
    let after = match request.cursor.as_str() {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|wrong| invalid("cursor", text, wrong))?,
        ),
    };
    let mut only = Vec::new();
    for (name, field, values) in [
        ("type", "types", request.types),
        ("event", "actions", request.actions),
        ("container", "containers", request.containers),
        ("image", "images", request.images),
        ("network", "networks", request.networks),
        ("volume", "volumes", request.volumes),
    ] {
        for value in values {
            if value.is_empty() || value.len() > 255 || value.contains(char::is_control) {
                return Err(invalid(field, &value, "give 1 to 255 characters"));
            }
            only.push((name, value));
        }
    }
    let long = request.labels.iter().any(|(k, v)| k.len() + v.len() > 4096);
    if only.len() + request.labels.len() > FILTERS || long {
        let mend = "give at most 200 filters, and labels of at most 4096 characters";
        return Err(invalid("filters", "", mend));
    }
    let time = |field, time: Option<prost_types::Timestamp>| {
        time.map(|time| nanos(field, &time)).transpose()
    };
    Ok(EventRequest {
        after,
        since: time("since", request.since)?,
        until: time("until", request.until)?,
        labels: request.labels,
        only,
    })
}

pub(super) fn response(happening: Happening) -> StreamEventsResponse {
    let step = match happening {
        Happening::Event(event) => {
            let (attributes, attributes_left_out) = labels::bounded(event.attributes);
            Step::Event(EngineEvent {
                time_unix_nano: event.cursor.nanos(),
                r#type: event.kind,
                action: event.action,
                id: event.id,
                attributes,
                attributes_left_out,
                scope: event.scope,
                cursor: event.cursor.to_string(),
            })
        }
        Happening::Interrupted { cause } => Step::Interrupted(EventsInterrupted { cause }),
        Happening::Resumed { gap } => Step::Resumed(EventsResumed { gap }),
    };
    StreamEventsResponse { step: Some(step) }
}
