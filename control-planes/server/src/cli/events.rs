//! `turbopanel events`: what happens in an agent's engine, over cuts and restarts.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use turbopanel_control_plane::proto::agent::{
    EngineEvent, StreamEventsRequest, engine_service_client::EngineServiceClient,
    stream_events_response::Step,
};
use turbopanel_tunnel::Channel;

use super::{
    connection::{Connection, settle},
    failure::Failure,
    interrupt::Interrupts,
    lines::append_json,
    logs::{goes_on, tell_presence},
    moment::{self, Moment},
    note,
    output::{self, Output, Side},
    text,
};

/// How long to wait before events are asked for again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  turbopanel events web-2 --follow
  turbopanel events web-2 --since 10m --json | jq .action")]
pub(crate) struct Events {
    /// The agent's name.
    agent: String,
    /// Goes on with what comes, over cuts and restarts.
    #[arg(long, short)]
    follow: bool,
    /// From this time on, as far as the engine remembers: an age as 10m, 2d, or a time as 2026-11-24T08:00:00Z
    /// [default: from now on with --follow, else all that it remembers].
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    since: Option<Moment>,
    /// Only of this kind of thing: container, image, volume, network, …; can be repeated.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
}

#[derive(Serialize)]
struct Row<'a> {
    time: String,
    r#type: &'a str,
    action: &'a str,
    id: &'a str,
    attributes: BTreeMap<&'a String, &'a String>,
    cursor: &'a str,
}

/// Prints events until there are no more, nobody reads them, or a signal comes.
pub(crate) async fn stream(
    connection: &Connection,
    args: Events,
    json: bool,
) -> Result<u8, Failure> {
    let channel = connection.agent(&args.agent)?;
    let mut interrupts = Interrupts::listen()?;
    let (output, reader) = Output::start()?;
    let mut events = Box::pin(follow(channel.clone(), args, json, output));
    let mut told = Box::pin(tell_presence(channel.presence()));
    let ended = tokio::select! {
        biased;
        signal = interrupts.next() => Failure::Signal(signal),
        () = reader.gone() => output::closed(),
        never = &mut told => match never {},
        done = &mut events => match done {
            Ok(()) => return Ok(0),
            Err(failure) => failure,
        },
    };
    drop(events);
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
    args: Events,
    json: bool,
    mut output: Output,
) -> Result<(), Failure> {
    let now = SystemTime::now();
    let since = args.since.map(|moment| moment.resolve(now));
    let beginning = Moment::Ago(Duration::from_secs(365 * 24 * 3600)).resolve(now);
    let mut request = StreamEventsRequest {
        since: since.or((!args.follow).then_some(beginning)),
        until: (!args.follow).then(|| now.into()),
        types: args.types,
        ..StreamEventsRequest::default()
    };
    let mut started = false;
    loop {
        let ended = once(&channel, &mut request, json, &mut output, &mut started).await;
        match ended {
            Ok(()) => return output.finish().await,
            Err(Failure::Refused(status)) if started && goes_on(&status, args.follow) => {}
            Err(failure) => {
                // What was printed before comes before the reason.
                output.finish().await?;
                return Err(failure);
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Reads events until the stream ends; the request then goes on after the last one.
async fn once(
    channel: &Channel,
    request: &mut StreamEventsRequest,
    json: bool,
    output: &mut Output,
    started: &mut bool,
) -> Result<(), Failure> {
    let mut client = EngineServiceClient::new(channel.clone());
    let mut answers = client.stream_events(request.clone()).await?.into_inner();
    *started = true;
    while let Some(answer) = answers.message().await? {
        match answer.step {
            Some(Step::Event(event)) => {
                output.write(Side::Out, printed(&event, json)).await?;
                request.cursor = event.cursor;
            }
            Some(Step::Interrupted(interrupted)) => {
                note(&text::safe(&interrupted.cause));
            }
            Some(Step::Resumed(resumed)) if resumed.gap => {
                note("the engine has forgotten what it went on from: events may be missing here");
            }
            Some(Step::Resumed(_)) | None => {}
        }
    }
    Ok(())
}

fn printed(event: &EngineEvent, json: bool) -> Vec<u8> {
    let mut line = Vec::new();
    moment::append_rfc3339(&mut line, event.time_unix_nano);
    let attributes: BTreeMap<_, _> = event.attributes.iter().collect();
    if json {
        let time = String::from_utf8_lossy(&line).into_owned();
        line.clear();
        let row = Row {
            time,
            r#type: &event.r#type,
            action: &event.action,
            id: &event.id,
            attributes,
            cursor: &event.cursor,
        };
        append_json(&mut line, &row);
        return line;
    }
    let hex = event.id.len() == 64 && event.id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id: String = event.id.chars().take(if hex { 12 } else { 255 }).collect();
    let pairs: Vec<_> = attributes
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let rest = format!(
        " {} {} {id} ({})",
        event.r#type,
        event.action,
        pairs.join(", ")
    );
    line.extend_from_slice(text::safe(&rest).as_bytes());
    line.push(b'\n');
    line
}
