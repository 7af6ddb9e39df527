//! Shows an operation while it runs: a bar per item on a terminal, lines otherwise, events for programs.
//!
//! A cut does not end it: its events are asked for again, after the last one that was shown. The first Ctrl-C
//! cancels the operation, a second one leaves it to itself.

use std::{
    io::{IsTerminal as _, stderr},
    time::Duration,
};

use tokio::sync::Notify;
use tonic::{Code, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};
use turbopanel_control_plane::proto::agent::{
    CancelOperationRequest, Operation, OperationEvent, OperationState, WatchOperationRequest,
    operation_event::Event, operation_service_client::OperationServiceClient,
};
use turbopanel_tunnel::Channel;

use super::{
    connection::{prompt, settle},
    failure::{Failure, reason},
    interrupt::{Interrupts, SIGINT},
    logs::tell_presence,
    note,
    output::{self, Output},
    screen::Screen,
};

/// How long to wait before events are asked for again.
const AGAIN: Duration = Duration::from_secs(1);

type Begun = Result<Response<Streaming<OperationEvent>>, Status>;

/// How an operation is shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Show {
    /// Events for programs, a line each.
    pub(crate) json: bool,
    /// Returns once it has begun, and leaves it to itself.
    pub(crate) detach: bool,
}

/// Shows the operation that this call begins or follows, until it ends. Returns it as it ended well, or, when it is left
/// to itself, as it began.
pub(crate) async fn follow(
    channel: Channel,
    begun: impl Future<Output = Begun>,
    show: Show,
) -> Result<Operation, Failure> {
    let mut interrupts = Interrupts::listen()?;
    let (output, reader) = Output::start()?;
    let cancel = Notify::new();
    let mut screen = Screen::new(show.json, output);
    let mut told = Box::pin(tell_presence(channel.presence()));
    let ended = {
        let mut work = Box::pin(watch(&channel, begun, show, &cancel, &mut screen));
        let mut cancelled = false;
        loop {
            tokio::select! {
                biased;
                signal = interrupts.next() => {
                    if cancelled || signal != SIGINT {
                        break Err(Failure::Signal(signal));
                    }
                    cancelled = true;
                    cancel.notify_one();
                    if stderr().is_terminal() && !show.json {
                        note("cancelling; Ctrl-C once more leaves it to itself");
                    }
                }
                () = reader.gone() => break Err(output::closed()),
                never = &mut told => match never {},
                done = &mut work => break done,
            }
        }
    };
    if matches!(ended, Err(Failure::Signal(_) | Failure::Output(_))) {
        settle(channel).await;
    } else {
        screen.finish().await?;
    }
    ended
}

async fn watch(
    channel: &Channel,
    begun: impl Future<Output = Begun>,
    show: Show,
    cancel: &Notify,
    screen: &mut Screen,
) -> Result<Operation, Failure> {
    let mut operations = OperationServiceClient::new(channel.clone());
    let mut events = begun.await?.into_inner();
    let mut position = 0;
    let mut last: Option<Operation> = None;
    let (mut wanted, mut cancelled) = (false, false);
    loop {
        if let Some(operation) = last.as_ref().filter(|_| wanted && !cancelled) {
            let id = operation.id.clone();
            let request = prompt(CancelOperationRequest { id });
            operations.cancel_operation(request).await?;
            cancelled = true;
        }
        let next = tokio::select! {
            next = events.message() => next,
            () = cancel.notified() => {
                wanted = true;
                continue;
            }
        };
        match next {
            Ok(Some(event)) => {
                position = event.position;
                screen.show(&event).await?;
                if let Some(Event::Operation(operation)) = event.event {
                    let running = operation.state() == OperationState::Running;
                    if running && !show.detach {
                        last = Some(operation);
                        continue;
                    }
                    return outcome(operation);
                }
            }
            Ok(None) => return Err(Failure::Cut),
            Err(status) => {
                let Some(operation) = last.as_ref().filter(|_| comes_back(&status)) else {
                    return Err(status.into());
                };
                events = loop {
                    tokio::time::sleep(AGAIN).await;
                    let request = WatchOperationRequest {
                        id: operation.id.clone(),
                        after_position: position,
                    };
                    match operations.watch_operation(request).await {
                        Ok(again) => break again.into_inner(),
                        Err(status) if comes_back(&status) => {}
                        Err(status) => return Err(status.into()),
                    }
                };
            }
        }
    }
}

/// The operation goes on, or its result can be asked for later.
fn comes_back(status: &Status) -> bool {
    status.code() == Code::Unavailable || reason(status).as_deref() == Some("CALL_LOST")
}

fn outcome(operation: Operation) -> Result<Operation, Failure> {
    match operation.state() {
        OperationState::Running | OperationState::Succeeded => Ok(operation),
        OperationState::Cancelled => Err(Failure::Cancelled),
        OperationState::Failed | OperationState::Unknown | OperationState::Unspecified => {
            let error = operation.error.unwrap_or_default();
            let name = error.reason().as_str_name();
            let details = ErrorDetails::with_error_info(name, "turbopanel.dev", error.metadata);
            let code = Code::from_i32(error.code);
            Err(Status::with_error_details(code, error.message, details).into())
        }
    }
}
