//! `turbopanel operations`: work on an agent that outlives whoever began it.

use std::time::SystemTime;

use serde_json::{Value, json};
use turbopanel_control_plane::proto::agent::{
    CancelOperationRequest, ListOperationsRequest, Operation, OperationEvent, OperationState,
    OutputStream, WatchOperationRequest, operation_event::Event,
    operation_service_client::OperationServiceClient,
};

use super::{
    args::OperationsAction,
    colour::Colour,
    connection::{Connection, prompt},
    failure::Failure,
    figures,
    lines::Bytes,
    moment, note,
    output::{Side, print_json},
    progress::{Show, follow},
    table::{Cell, Table},
};

/// Does what was asked for.
pub(crate) async fn run(
    connection: &Connection,
    action: OperationsAction,
    json: bool,
) -> Result<u8, Failure> {
    match action {
        OperationsAction::List { agent, running } => list(connection, &agent, running, json).await,
        OperationsAction::Watch { agent, id, after } => {
            let channel = connection.agent(&agent)?;
            let mut client = OperationServiceClient::new(channel.clone());
            let request = WatchOperationRequest {
                id,
                after_position: after,
            };
            let show = Show {
                json,
                detach: false,
            };
            let ended = follow(channel, client.watch_operation(request), show).await?;
            if !json {
                note(&format!("{} has succeeded", ended.kind));
            }
            Ok(0)
        }
        OperationsAction::Cancel { agent, id } => {
            let mut client = OperationServiceClient::new(connection.agent(&agent)?);
            let request = CancelOperationRequest { id: id.clone() };
            let answer = client.cancel_operation(prompt(request)).await?.into_inner();
            if json {
                print_json(&json!({ "id": id, "already_ended": answer.already_ended }))?;
            } else if answer.already_ended {
                note("it had ended already");
            } else {
                note("it was told to end; `turbopanel operations watch` shows how it does");
            }
            Ok(0)
        }
    }
}

async fn list(
    connection: &Connection,
    agent: &str,
    running: bool,
    json: bool,
) -> Result<u8, Failure> {
    let mut client = OperationServiceClient::new(connection.agent(agent)?);
    let request = ListOperationsRequest {
        running,
        ..ListOperationsRequest::default()
    };
    let answer = client.list_operations(prompt(request)).await?.into_inner();
    if json {
        let all: Vec<Value> = answer.operations.iter().map(operation).collect();
        print_json(&all)?;
        return Ok(0);
    }
    let mut table = Table::new(&["ID", "KIND", "TARGET", "STATE", "BEGAN"]);
    for operation in &answer.operations {
        let (state, colour) = state(operation);
        let began = operation
            .created_at
            .as_ref()
            .map_or_else(String::new, |at| {
                format!("{} ago", figures::age(moment::since(at, SystemTime::now())))
            });
        table.row([
            operation.id.as_str().into(),
            operation.kind.as_str().into(),
            operation.target.as_str().into(),
            Cell::new(state, colour),
            began.into(),
        ]);
    }
    table.print()?;
    Ok(0)
}

fn state(operation: &Operation) -> (&'static str, Colour) {
    match operation.state() {
        OperationState::Unspecified => ("", Colour::Plain),
        OperationState::Running => ("running", Colour::Plain),
        OperationState::Succeeded => ("succeeded", Colour::Good),
        OperationState::Failed => ("failed", Colour::Bad),
        OperationState::Cancelled => ("cancelled", Colour::Faint),
        OperationState::Unknown => ("unknown", Colour::Bad),
    }
}

/// An event as programs read it.
pub(crate) fn for_programs(event: &OperationEvent) -> Value {
    let mut value = json!({
        "position": event.position,
        "time": moment::for_programs(event.time.as_ref()),
    });
    let (name, what) = match &event.event {
        Some(Event::Operation(it)) => ("operation", operation(it)),
        Some(Event::Progress(progress)) => (
            "progress",
            json!({
                "item": progress.item,
                "status": progress.status,
                "current": progress.current,
                "total": progress.total,
            }),
        ),
        Some(Event::Output(output)) => {
            let side = match output.stream() {
                OutputStream::Stderr => Side::Err,
                OutputStream::Stdout | OutputStream::Unspecified => Side::Out,
            };
            ("output", json!(Bytes::new(side, &output.content)))
        }
        Some(Event::Gap(gap)) => ("gap", json!({ "events": gap.events })),
        None => return value,
    };
    if let Some(object) = value.as_object_mut() {
        object.insert(name.to_owned(), what);
    }
    value
}

fn operation(operation: &Operation) -> Value {
    json!({
        "id": operation.id,
        "request_id": operation.request_id,
        "kind": operation.kind,
        "target": operation.target,
        "state": state(operation).0,
        "created_at": moment::for_programs(operation.created_at.as_ref()),
        "finished_at": moment::for_programs(operation.finished_at.as_ref()),
        "error": operation.error.as_ref().map(|error| json!({
            "code": error.code,
            "reason": error.reason().as_str_name(),
            "message": error.message,
            "metadata": error.metadata,
        })),
        "result": operation.result.as_ref().map(|result| json!({
            "image_id": result.image_id,
            "digest": result.digest,
            "container_id": result.container_id,
            "unchanged": result.unchanged,
            "warnings": result.warnings,
        })),
    })
}
