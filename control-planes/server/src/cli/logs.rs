//! `turbopanel logs`: what containers print, over cuts and restarts.

use std::{
    convert::Infallible,
    io::{IsTerminal as _, stderr},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::sync::watch;
use tonic::Status;
use turbopanel_control_plane::proto::agent::{
    LogBatch, LogSourceEnd, StreamLogsRequest, log_service_client::LogServiceClient,
    log_source_end::Reason, stream_logs_response::Event,
};
use turbopanel_tunnel::{Channel, Presence};

use super::{
    colour,
    connection::{Connection, settle},
    failure::{Failure, reason},
    interrupt::Interrupts,
    lines::{Form, Printer},
    note,
    output::{self, Output, Side},
    selectors::Logs,
    text,
};

/// How long to wait before a log is asked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// Prints a log until it ends, nobody reads it, or a signal comes.
pub(crate) async fn stream(connection: &Connection, args: Logs, json: bool) -> Result<u8, Failure> {
    let channel = connection.agent(&args.place.agent)?;
    let mut interrupts = Interrupts::listen()?;
    let (output, reader) = Output::start()?;
    let mut log = Box::pin(follow(channel.clone(), args, json, output));
    let mut told = Box::pin(tell_presence(channel.presence()));
    let ended = tokio::select! {
        biased;
        signal = interrupts.next() => Failure::Signal(signal),
        () = reader.gone() => output::closed(),
        never = &mut told => match never {},
        done = &mut log => match done {
            Ok(()) => return Ok(0),
            Err(failure) => failure,
        },
    };
    drop(log);
    if matches!(ended, Failure::Signal(_) | Failure::Output(_)) {
        tokio::select! {
            () = settle(channel) => {}
            _ = interrupts.next() => {}
        }
    }
    Err(ended)
}

async fn follow(
    channel: Channel,
    args: Logs,
    json: bool,
    mut output: Output,
) -> Result<(), Failure> {
    let mut printer = Printer::new(match (json, args.reading.timestamps) {
        (true, _) => Form::Json,
        (false, true) => Form::Timestamps,
        (false, false) => Form::Raw,
    });
    if args.selectors.one(&args.place).is_none() && !json {
        printer.name_sources(colour::on_stdout(), args.within.as_deref());
    }
    let mut cursor = Bytes::new();
    let mut started = false;
    let mut told = None;
    let mut request = request(&args)?;
    let began = SystemTime::now();
    loop {
        match once(
            &channel,
            &request,
            &mut cursor,
            &mut printer,
            &mut output,
            &mut started,
        )
        .await
        {
            Ok(()) => return output.finish().await,
            Err(Failure::Refused(status)) if started && goes_on(&status, args.reading.follow) => {
                let why = match reason(&status).as_deref() {
                    Some("CALL_LOST") => {
                        "the log was cut; it goes on after its last line".to_owned()
                    }
                    _ => text::safe(status.message()).to_string(),
                };
                // Once for each outage, however long it lasts.
                let now = (why, cursor.clone());
                if stderr().is_terminal() && told.as_ref() != Some(&now) {
                    note(&now.0);
                }
                told = Some(now);
            }
            Err(failure) => {
                // What was printed before comes before the reason.
                output.finish().await?;
                return Err(failure);
            }
        }
        tokio::time::sleep(AGAIN).await;
        go_on(&mut request, &cursor, began);
    }
}

/// Asks for what has not been printed, of a log whose call began then by the clock of this machine.
fn go_on(request: &mut StreamLogsRequest, cursor: &Bytes, began: SystemTime) {
    request.cursor = cursor.clone();
    if cursor.is_empty() && request.tail_lines == Some(0) {
        // None of the old lines were wanted: what was printed meanwhile is new.
        request.since.get_or_insert_with(|| began.into());
        request.tail_lines = None;
    }
}

/// Reads the log until it ends.
async fn once(
    channel: &Channel,
    request: &StreamLogsRequest,
    cursor: &mut Bytes,
    printer: &mut Printer,
    output: &mut Output,
    started: &mut bool,
) -> Result<(), Failure> {
    let mut client = LogServiceClient::new(channel.clone());
    let mut events = client.stream_logs(request.clone()).await?.into_inner();
    *started = true;
    while let Some(response) = events.message().await? {
        match response.event {
            Some(Event::Batch(batch)) => {
                print(&batch, printer, output).await?;
                *cursor = batch.cursor;
            }
            Some(Event::Progress(progress)) => *cursor = progress.cursor,
            Some(Event::End(_)) => return Ok(()),
            Some(Event::Gap(gap)) => {
                let id = gap.container_id.get(..12).unwrap_or_default();
                note(&format!(
                    "lines of container {} may be missing: they were rotated away before they were read",
                    text::safe(printer.name(gap.source).unwrap_or(id))
                ));
            }
            Some(Event::SourceEnd(end)) => tell_end(&end),
            Some(Event::Drop(_)) | None => {}
        }
    }
    Err(Failure::Cut)
}

/// Tells people of a container that prints no more; and everybody of one whose log cannot be read.
fn tell_end(end: &LogSourceEnd) {
    let name = text::safe(&end.container_name);
    let said = match end.reason() {
        Reason::NotReadable => Some(format!("{name}: {}", text::safe(&end.message))),
        Reason::ContainerEnded => stderr().is_terminal().then(|| format!("{name} has ended")),
        Reason::ContainerRemoved => stderr()
            .is_terminal()
            .then(|| format!("{name} was removed")),
        Reason::Unspecified => None,
    };
    if let Some(said) = said {
        note(&said);
    }
}

async fn print(
    batch: &LogBatch,
    printer: &mut Printer,
    output: &mut Output,
) -> Result<(), Failure> {
    printer.sources(&batch.sources);
    let size: usize = batch.lines.iter().map(|line| line.content.len() + 1).sum();
    let (mut piece, mut piece_side) = (Vec::with_capacity(size), Side::Out);
    for line in &batch.lines {
        let side = printer.side(line);
        // Both may be one terminal: what was printed first is written first.
        if side != piece_side && !piece.is_empty() {
            output.write(piece_side, std::mem::take(&mut piece)).await?;
        }
        piece_side = side;
        printer.append(line, &mut piece);
    }
    output.write(piece_side, piece).await
}

/// Whether the same log can be asked for again later.
pub(crate) fn goes_on(status: &Status, follows: bool) -> bool {
    match reason(status).as_deref() {
        Some("CALL_LOST") => true,
        Some(
            "AGENT_OFFLINE"
            | "AGENT_STOPPING"
            | "CONTROL_PLANE_STOPPING"
            | "ENGINE_UNREACHABLE"
            | "TOO_MANY_CALLS",
        ) => follows,
        Some("CONTROL_PLANE_UNREACHABLE") => follows && status.code() == tonic::Code::Unavailable,
        _ => false,
    }
}

/// Tells people when the agent goes away and comes back.
pub(crate) async fn tell_presence(mut presence: watch::Receiver<Presence>) -> Infallible {
    let (mut was_here, mut left) = (false, false);
    while stderr().is_terminal() {
        {
            let now = presence.borrow_and_update();
            if was_here && !now.connected {
                note(&format!(
                    "agent {} is away; waiting for it",
                    text::safe(&now.agent)
                ));
                left = true;
            } else if left && now.connected {
                note(&format!("agent {} is back", text::safe(&now.agent)));
                left = false;
            }
            was_here = now.connected;
        }
        if presence.changed().await.is_err() {
            break;
        }
    }
    std::future::pending().await
}

fn request(args: &Logs) -> Result<StreamLogsRequest, Failure> {
    let (since, until) = args.reading.lines.range(SystemTime::now());
    let one = args.selectors.one(&args.place);
    Ok(StreamLogsRequest {
        container: one.unwrap_or_default().to_owned(),
        selection: match one {
            Some(_) => None,
            None => Some(args.selectors.selection(&args.place)?),
        },
        follow: args.reading.follow,
        tail_lines: args.reading.tail,
        since,
        until,
        streams: args.reading.lines.streams(),
        filter: args.reading.lines.filter(&args.reading.grep),
        ..StreamLogsRequest::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_time_between_two_calls_is_lost() {
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let asked = |tail_lines, cursor: &Bytes| {
            let mut request = StreamLogsRequest {
                tail_lines,
                ..StreamLogsRequest::default()
            };
            go_on(&mut request, cursor, began);
            (request.since, request.tail_lines)
        };
        let nothing = Bytes::new();
        assert_eq!(asked(Some(0), &nothing), (Some(began.into()), None));
        assert_eq!(asked(Some(5), &nothing), (None, Some(5)));
        assert_eq!(asked(None, &nothing), (None, None));
        let printed = Bytes::from_static(b"cursor");
        assert_eq!(asked(Some(0), &printed), (None, Some(0)));
    }
}
