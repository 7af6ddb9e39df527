//! Lines that are chosen on the agent: filters, levels, fields, budgets, searches, and ranges as files.

use std::collections::HashMap;

use futures_util::StreamExt;
use tonic::{Code, Request, Status};
use turbopanel_agent::{
    proto::{
        DownloadLogsRequest, LogFilter, LogLevel, LogMatch, LogSelection, SearchLogsRequest,
        SearchSummary, StreamLogsRequest, download_logs_request::Format, download_logs_response,
        log_service_server::LogService, search_logs_request::Order, search_logs_response::Event,
    },
    services::log::LogApi,
};

use crate::{
    docker_containers::reason,
    docker_logs::{ended, of},
    docker_support::{docker, engine},
    logs_support::{Got, Marked, SOON, texts},
};

fn filter(include: &[&str], exclude: &[&str], min_level: LogLevel) -> Option<LogFilter> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Some(LogFilter {
        include: owned(include),
        exclude: owned(exclude),
        min_level: min_level.into(),
    })
}

fn named(name: &str) -> Option<LogSelection> {
    Some(LogSelection {
        containers: vec![name.to_owned()],
        ..LogSelection::default()
    })
}

#[tokio::test]
async fn only_what_is_wanted_comes() {
    let container = ended(
        &[],
        r#"seq 2000
           echo '{"level":"warn","msg":"careful","at":{"x":1}}'
           echo 'level=error msg="it broke" took=3ms'
           echo '  at a.stack.trace(X.java:1)'
           echo 'INFO all is well' "#,
    );
    let all = LogLevel::Unspecified;
    let ask = |filter| StreamLogsRequest {
        filter,
        ..of(&container.name)
    };
    let some = Got::all(engine(), ask(filter(&["^19[0-9]{2}$"], &["5$"], all))).await;
    assert_eq!(some.lines.len(), 90);
    let request = StreamLogsRequest {
        with_fields: true,
        ..ask(filter(&[], &[], LogLevel::Warn))
    };
    let levels = Got::all(engine(), request).await;
    let level: Vec<LogLevel> = levels.lines.iter().map(|line| line.level()).collect();
    assert_eq!(level, [LogLevel::Warn, LogLevel::Error, LogLevel::Error]);
    let fields = |at: usize| -> HashMap<&str, &str> {
        let fields = levels.lines[at].fields.iter();
        fields
            .map(|field| (field.name.as_str(), field.value.as_str()))
            .collect()
    };
    assert_eq!(fields(0)["at.x"], "1");
    assert_eq!((fields(1)["msg"], fields(1)["took"]), ("it broke", "3ms"));
    assert!(levels.lines[2].fields.is_empty());
    // The cursor is behind what did not match, too: nothing is read twice.
    let none = Got::all(engine(), ask(filter(&["no such line"], &[], all))).await;
    assert!(none.lines.is_empty());
    let wrong = Got::open(engine(), ask(filter(&["a(b"], &[], all)))
        .await
        .err()
        .unwrap();
    assert_eq!(
        (wrong.code(), reason(&wrong).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD")
    );
    assert!(
        wrong.message().contains("filter.include: character 2"),
        "{wrong:?}"
    );
}

#[tokio::test]
async fn a_line_of_ten_megabytes_is_judged_and_passes() {
    let script =
        "head -c 10000000 /dev/zero | tr '\\0' a; echo needle; echo needle again; echo other";
    let container = ended(&[], script);
    let ask = |pattern: &str| StreamLogsRequest {
        filter: filter(&[pattern], &[], LogLevel::Unspecified),
        ..of(&container.name)
    };
    // Its end is beyond what is looked at.
    assert_eq!(
        Got::all(engine(), ask("needle")).await.texts(),
        ["needle again"]
    );
    let whole = Got::all(engine(), ask("^aaa")).await;
    let bytes: usize = whole.lines.iter().map(|line| line.content.len()).sum();
    assert_eq!(bytes, 10_000_006);
}

#[tokio::test]
async fn a_budget_leaves_out_and_tells() {
    const LINES: usize = 20_000;
    let container = ended(&[], &format!("seq {LINES}"));
    let request = StreamLogsRequest {
        max_bytes_per_second: 10_000,
        ..of(&container.name)
    };
    let got = Got::all(engine(), request).await;
    assert!(got.lines.len() < LINES / 2 && got.dropped > 0);
    assert_eq!(got.lines.len() + got.dropped as usize, LINES);
}

async fn search(request: SearchLogsRequest) -> Result<(Vec<LogMatch>, SearchSummary), Status> {
    let api = LogApi::new(engine());
    let mut events = api.search_logs(Request::new(request)).await?.into_inner();
    let (mut matches, mut summary) = (Vec::new(), None);
    while let Some(event) = tokio::time::timeout(SOON, events.next()).await.unwrap() {
        assert!(summary.is_none(), "something after the summary");
        match event?.event.unwrap() {
            Event::Matches(found) => {
                assert!(!found.matches.is_empty());
                matches.extend(found.matches);
            }
            Event::Summary(last) => summary = Some(last),
        }
    }
    Ok((matches, summary.unwrap()))
}

fn found(matches: &[LogMatch]) -> Vec<String> {
    matches.iter().flat_map(|one| texts(&one.lines)).collect()
}

#[tokio::test]
async fn a_search_finds_the_newest_or_the_oldest_with_what_is_around() {
    let container = ended(&[], "seq 100000; echo needle; seq 100001 300000");
    let ask = |pattern: &str, order: Order| SearchLogsRequest {
        selection: named(&container.name),
        pattern: pattern.to_owned(),
        order: order.into(),
        limit: 3,
        ..SearchLogsRequest::default()
    };
    let (matches, summary) = search(ask("777$", Order::OldestFirst)).await.unwrap();
    assert_eq!(found(&matches), ["777", "1777", "2777"]);
    assert!(
        summary.truncated && summary.lines_scanned < 10_000,
        "{summary:?}"
    );
    let (matches, summary) = search(ask("777$", Order::Unspecified)).await.unwrap();
    assert_eq!(found(&matches), ["299777", "298777", "297777"]);
    assert!(
        summary.truncated && summary.lines_scanned < 10_000,
        "{summary:?}"
    );
    // Deep in the log.
    let around = SearchLogsRequest {
        before_lines: 2,
        after_lines: 1,
        ..ask("needle|^100002$", Order::NewestFirst)
    };
    let (matches, summary) = search(around).await.unwrap();
    assert_eq!(
        (summary.matches, summary.truncated, summary.containers),
        (2, false, 1)
    );
    assert_eq!(found(&matches), ["100002", "needle"]);
    assert_eq!(texts(&matches[1].before), ["99999", "100000"]);
    assert_eq!(texts(&matches[1].after), ["100001"]);
    // Given with the match before already.
    assert_eq!(texts(&matches[0].before), [""; 0]);
    assert_eq!(texts(&matches[0].after), ["100003"]);
    let (matches, summary) = search(ask("no such line", Order::NewestFirst))
        .await
        .unwrap();
    assert_eq!((matches.len(), summary.truncated), (0, false));
    assert!(summary.lines_scanned >= 300_001);
}

#[tokio::test]
async fn a_search_goes_over_many_logs() {
    let marked = Marked::new();
    let script = |name: &str| {
        format!("for i in $(seq 50); do echo {name} $i; echo {name} >&2; sleep 0.01; done")
    };
    let names = ["a", "b", "c"];
    let containers = names.map(|name| marked.run(&[], &script(name)));
    let none = marked.run(&["--log-driver=none"], "echo x");
    for container in &containers {
        docker(None, &["wait", &container.name]);
    }
    let ask = |limit: u32, order: Order| SearchLogsRequest {
        selection: Some(marked.selection()),
        pattern: "^[abc] [0-9]+$".to_owned(),
        order: order.into(),
        limit,
        ..SearchLogsRequest::default()
    };
    let times = |matches: &[LogMatch]| -> Vec<i64> {
        matches
            .iter()
            .map(|one| one.lines[0].time_unix_nano)
            .collect()
    };
    let (all, summary) = search(ask(1000, Order::OldestFirst)).await.unwrap();
    assert_eq!(
        (all.len(), summary.containers, summary.truncated),
        (150, 3, false)
    );
    assert_eq!(summary.unreadable.len(), 1);
    assert_eq!(summary.unreadable[0].container_name, none.name);
    assert!(times(&all).is_sorted());
    let (newest, summary) = search(ask(40, Order::NewestFirst)).await.unwrap();
    let expected: Vec<i64> = times(&all).into_iter().rev().take(40).collect();
    assert_eq!(times(&newest), expected);
    assert!(summary.truncated);
    let (oldest, _) = search(ask(40, Order::OldestFirst)).await.unwrap();
    assert_eq!(times(&oldest), times(&all)[..40]);
    for wrong in [
        SearchLogsRequest {
            pattern: String::new(),
            ..ask(1, Order::OldestFirst)
        },
        SearchLogsRequest {
            selection: None,
            ..ask(1, Order::OldestFirst)
        },
        SearchLogsRequest {
            before_lines: 101,
            ..ask(1, Order::OldestFirst)
        },
        ask(10_001, Order::OldestFirst),
        SearchLogsRequest {
            order: 9,
            ..ask(1, Order::OldestFirst)
        },
        SearchLogsRequest {
            filter: filter(&["x"], &[], LogLevel::Unspecified),
            ..ask(1, Order::OldestFirst)
        },
    ] {
        let refused = search(wrong.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{wrong:?}");
    }
    let missing = SearchLogsRequest {
        selection: named("tpd-nosuch"),
        ..ask(1, Order::OldestFirst)
    };
    assert_eq!(
        reason(&search(missing).await.unwrap_err()),
        "CONTAINER_NOT_FOUND"
    );
}

async fn download(request: DownloadLogsRequest) -> (Vec<u8>, u64) {
    let api = LogApi::new(engine());
    let mut pieces = api
        .download_logs(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    let (mut bytes, mut end) = (Vec::new(), None);
    while let Some(piece) = tokio::time::timeout(SOON, pieces.next()).await.unwrap() {
        assert_eq!(end, None, "something after the end");
        match piece.unwrap().event.unwrap() {
            download_logs_response::Event::Data(data) => {
                assert!(!data.is_empty() && data.len() < 1 << 20);
                bytes.extend_from_slice(&data);
            }
            download_logs_response::Event::End(last) => end = Some(last.lines),
        }
    }
    (bytes, end.unwrap())
}

#[tokio::test]
async fn a_range_comes_as_a_file() {
    // The engine's usual driver, json-file, replaces what is not UTF-8, and `docker logs` of this age joins lines of the
    // other one: each is looked at where it is true.
    let script = r"seq 100000; head -c 50000 /dev/zero | tr '\0' x; echo; printf end";
    let container = ended(&[], script);
    let ask = DownloadLogsRequest {
        selection: named(&container.name),
        ..DownloadLogsRequest::default()
    };
    let (text, lines) = download(ask.clone()).await;
    let printed = std::process::Command::new("docker")
        .args(["logs", &container.name])
        .output();
    assert!(text == printed.unwrap().stdout, "{} bytes", text.len());
    assert!(lines >= 100_003, "{lines}");
    let some = DownloadLogsRequest {
        filter: filter(&["^9999[0-9]$"], &["5$"], LogLevel::Unspecified),
        format: Format::JsonLines.into(),
        ..ask.clone()
    };
    let (json, lines) = download(some).await;
    let json = String::from_utf8(json).unwrap();
    assert_eq!((lines, json.lines().count()), (9, 9));
    assert!(
        json.lines()
            .all(|line| line.contains(&format!("\"container\":\"{}\"", container.name)))
    );
    assert!(
        json.contains("\"stream\":\"stdout\"") && json.contains("\"text\":\"99999\""),
        "{json}"
    );
    let bytes = ended(&["--log-driver=local"], r"printf '\377\n'");
    let raw = DownloadLogsRequest {
        selection: named(&bytes.name),
        filter: filter(&[r"(?-u)\xff"], &[], LogLevel::Unspecified),
        format: Format::JsonLines.into(),
        ..ask.clone()
    };
    assert!(
        String::from_utf8(download(raw).await.0)
            .unwrap()
            .contains("\"base64\":\"/w==\"")
    );
    let stamped = DownloadLogsRequest {
        filter: filter(&["^77$"], &[], LogLevel::Unspecified),
        with_times: true,
        with_names: true,
        ..ask
    };
    let (text, _) = download(stamped).await;
    let text = String::from_utf8(text).unwrap();
    let (time, rest) = text.split_once(' ').unwrap();
    assert!(time.parse::<prost_types::Timestamp>().is_ok(), "{time}");
    assert_eq!(rest, format!("{} | 77\n", container.name));
}
