//! `turbopanel search`: lines of stored logs that match, found by the agent.

use std::{
    io::{IsTerminal as _, stderr},
    time::SystemTime,
};

use turbopanel_control_plane::proto::agent::{
    LogMatch, SearchLogsRequest, SearchSummary, log_service_client::LogServiceClient,
    search_logs_request::Order, search_logs_response::Event,
};

use super::{
    colour::{self, Colour},
    connection::Connection,
    failure::Failure,
    lines::{Form, Printer},
    note, output,
    selectors::Search,
    text,
};

/// Prints what is found, the oldest first.
pub(crate) async fn run(connection: &Connection, args: Search, json: bool) -> Result<u8, Failure> {
    let mut client = LogServiceClient::new(connection.agent(&args.place.agent)?);
    let mut events = client.search_logs(request(&args)?).await?.into_inner();
    let mut printer = Printer::new(if json { Form::Json } else { Form::Timestamps });
    let several = args.selectors.one(&args.place).is_none();
    if several && !json {
        printer.name_sources(colour::on_stdout(), None);
    }
    let (mut matches, mut summary) = (Vec::new(), None);
    while let Some(response) = events.message().await? {
        match response.event {
            Some(Event::Matches(found)) => {
                printer.sources(&found.sources);
                matches.extend(found.matches);
            }
            Some(Event::Summary(last)) => summary = Some(last),
            None => {}
        }
    }
    let summary = summary.ok_or(Failure::Cut)?;
    if !args.oldest {
        matches.reverse();
    }
    let around = args.before.or(args.context).unwrap_or_default() > 0
        || args.after.or(args.context).unwrap_or_default() > 0;
    output::print(&written(&matches, &mut printer, around && !json))?;
    tell(&summary);
    Ok(0)
}

fn written(matches: &[LogMatch], printer: &mut Printer, apart: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, found) in matches.iter().enumerate() {
        if apart && at > 0 {
            out.extend_from_slice(Colour::Faint.paint("--", colour::on_stdout()).as_bytes());
            out.push(b'\n');
        }
        let parts = [
            (&found.before, false),
            (&found.lines, true),
            (&found.after, false),
        ];
        for (lines, matched) in parts {
            for line in lines {
                printer.append_found(line, matched, &mut out);
            }
            printer.end_line(&mut out);
        }
    }
    out
}

/// What people must know: that there is more, and what was not searched; on a terminal how it went.
fn tell(summary: &SearchSummary) {
    for failed in &summary.unreadable {
        let (name, why) = (
            text::safe(&failed.container_name),
            text::safe(&failed.message),
        );
        note(&format!("not searched: {name}: {why}"));
    }
    if summary.truncated {
        note("there may be more: raise --limit, or narrow the time with --since and --until");
    }
    if stderr().is_terminal() {
        note(&format!(
            "{} found in {} lines of {} containers",
            summary.matches, summary.lines_scanned, summary.containers
        ));
    }
}

fn request(args: &Search) -> Result<SearchLogsRequest, Failure> {
    let (since, until) = args.lines.range(SystemTime::now());
    let order = match args.oldest {
        true => Order::OldestFirst,
        false => Order::NewestFirst,
    };
    Ok(SearchLogsRequest {
        selection: Some(args.selectors.selection(&args.place)?),
        pattern: args.pattern.clone(),
        filter: args.lines.filter(&[]),
        before_lines: args.before.or(args.context).unwrap_or_default(),
        after_lines: args.after.or(args.context).unwrap_or_default(),
        limit: args.limit,
        order: order.into(),
        since,
        until,
        streams: args.lines.streams(),
        ..SearchLogsRequest::default()
    })
}
