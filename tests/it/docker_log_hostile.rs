//! Containers that print what is meant to break a reader.

use futures_util::StreamExt;
use turbopanel_agent::{proto::stream_logs_response::Event, services::log::LogApi};

use crate::{
    docker_logfile_support::api_engine,
    docker_logs::{all, ended, of, open},
    docker_support::engine,
};

/// Bytes that blind a decoder that guesses.
const HOSTILE: &str =
    r"printf '\001\000\000\000\177\377\377\377'; for i in $(seq 20); do echo line $i; done";

#[tokio::test]
async fn hostile_bytes_hide_nothing() {
    for options in [
        &[][..],
        &["-t"],
        &["--log-driver=local"],
        &["--log-driver=local", "-t"],
    ] {
        let container = ended(options, HOSTILE);
        let (lines, _) = all(of(&container.name)).await;
        assert_eq!(lines.len(), 20, "{options:?}");
        let first = b"\x01\0\0\0\x7f\xff\xff\xffline 1";
        // json-file itself keeps text only.
        let replaced = String::from_utf8_lossy(first);
        let content = lines[0].content.trim_ascii_end();
        let kept = content == first
            || (content == replaced.as_bytes() && !options.contains(&"--log-driver=local"));
        assert!(kept, "{options:?}: {content:02x?}");
        for (n, line) in lines.iter().enumerate().skip(1) {
            assert_eq!(
                line.content.trim_ascii_end(),
                format!("line {}", n + 1).as_bytes()
            );
            assert!(!line.partial);
        }
    }
}

#[tokio::test]
async fn long_lines_come_in_pieces_and_stay_whole() {
    for options in [&[][..], &["-t"][..]] {
        let script = "head -c 100000 /dev/zero | tr '\\0' a; echo; echo next";
        let container = ended(options, script);
        let (lines, _) = all(of(&container.name)).await;
        assert!(
            lines
                .iter()
                .all(|line| line.content.len() <= 16 << 10 && line.time_unix_nano > 0)
        );
        let (next, long) = lines.split_last().unwrap();
        assert_eq!(next.content.trim_ascii_end(), b"next");
        let (last, parts) = long.split_last().unwrap();
        assert!(
            !last.partial && parts.iter().all(|line| line.partial),
            "{options:?}"
        );
        let joined: Vec<u8> = long.iter().flat_map(|line| line.content.to_vec()).collect();
        let joined = joined.trim_ascii_end();
        assert_eq!(joined.len(), 100_000);
        assert!(joined.iter().all(|byte| *byte == b'a'));
    }
}

/// This process's memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .next()
        .unwrap()
        .parse::<usize>()
        .unwrap()
        << 10
}

#[tokio::test]
async fn a_line_without_end_costs_no_memory() {
    let container = ended(&[], "head -c 100000000 /dev/zero | tr '\\0' a");
    for engine in [engine(), api_engine()] {
        costs_no_memory(LogApi::new(engine), &container.name).await;
    }
}

async fn costs_no_memory(api: LogApi, container: &str) {
    let mut events = open(&api, of(container)).await.unwrap();
    let before = resident();
    let (mut bytes, mut most) = (0, 0);
    while let Some(event) = events.next().await {
        if let Event::Batch(batch) = event.unwrap().event.unwrap() {
            assert!(
                batch
                    .lines
                    .iter()
                    .all(|line| line.partial && line.content.len() <= 16 << 10)
            );
            bytes += batch
                .lines
                .iter()
                .map(|line| line.content.len())
                .sum::<usize>();
            most = most.max(resident());
        }
    }
    assert_eq!(bytes, 100_000_000);
    // Other tests share this process: far below the 100 MB is enough to tell.
    assert!(
        most.saturating_sub(before) < 40 << 20,
        "{} MiB",
        (most - before) >> 20
    );
}
