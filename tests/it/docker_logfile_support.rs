//! Logs by both ways: from the engine's files, and through its API.

use std::time::Duration;

use turbopanel_agent::engines::docker::{
    Engine, EngineAddress,
    lines::Line,
    logs::{Gap, LogEnd, LogRequest, Logs},
};

use crate::docker_support::{TestContainer, docker, engine};

/// An engine whose host's files are not to be seen: its logs come through the API.
pub fn api_engine() -> Engine {
    api_engine_at(EngineAddress::default())
}

pub fn api_engine_at(address: EngineAddress) -> Engine {
    Engine::below("/proc/self/fdinfo".into(), address)
}

pub fn whole(container: &TestContainer) -> LogRequest {
    LogRequest {
        container: container.named(),
        follow: false,
        tail: None,
        since: None,
        until: None,
        stdout: true,
        stderr: true,
    }
}

pub async fn from_files(request: &LogRequest) -> Logs {
    let logs = engine().logs(request.clone()).await.unwrap();
    assert!(
        logs.reads_files(),
        "the files of {} are not read",
        request.container
    );
    logs
}

pub async fn from_api(request: &LogRequest) -> Logs {
    let logs = api_engine().logs(request.clone()).await.unwrap();
    assert!(!logs.reads_files());
    logs
}

/// Reads to the end. Gaps are told with the number of lines before them.
pub async fn to_end(mut logs: Logs) -> (Vec<Line>, Vec<(usize, Gap)>, LogEnd) {
    let (mut lines, mut gaps) = (Vec::new(), Vec::new());
    loop {
        let mut batch = Vec::new();
        let end = logs.next(&mut batch).await.unwrap();
        gaps.extend(logs.gap().map(|gap| (lines.len(), gap)));
        assert_eq!(batch.is_empty(), end.is_some());
        lines.extend(batch);
        if let Some(end) = end {
            let mut after = Vec::new();
            assert_eq!(logs.next(&mut after).await.unwrap(), Some(end));
            assert!(after.is_empty());
            return (lines, gaps, end);
        }
    }
}

/// Reads by both ways, which must not differ, and gives the lines.
pub async fn both(request: &LogRequest) -> Vec<Line> {
    let (files, gaps, end) = to_end(from_files(request).await).await;
    let (api, _, api_end) = to_end(from_api(request).await).await;
    same(&files, &api, &format!("{request:?}"));
    assert!(gaps.is_empty(), "{gaps:?}");
    assert_eq!(end, api_end);
    files
}

/// Tells the first line that differs, not all of them.
pub fn same(files: &[Line], api: &[Line], what: &str) {
    let differs = files.iter().zip(api).position(|(one, other)| one != other);
    if let Some(at) = differs {
        panic!(
            "{what}: line {at}: {:?} {:?}",
            cut(&files[at]),
            cut(&api[at])
        );
    }
    assert_eq!(files.len(), api.len(), "{what}");
}

fn cut(line: &Line) -> (i64, bool, bool, usize, String) {
    let shown = &line.content[..line.content.len().min(60)];
    let shown = String::from_utf8_lossy(shown).into_owned();
    (
        line.time,
        line.stderr,
        line.partial,
        line.content.len(),
        shown,
    )
}

pub fn texts(lines: &[Line]) -> Vec<String> {
    let text = |line: &Line| String::from_utf8_lossy(&line.content).into_owned();
    lines.iter().map(text).collect()
}

/// Reads until the lines are so many, with the gaps on the way.
pub async fn take(logs: &mut Logs, lines: &mut Vec<Line>, count: usize) -> Vec<Gap> {
    let mut gaps = Vec::new();
    while lines.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(30), logs.next(lines)).await;
        let next = next.unwrap_or_else(|_| panic!("{} of {count} lines came", lines.len()));
        assert_eq!(next.unwrap(), None, "ended after {} lines", lines.len());
        gaps.extend(logs.gap());
    }
    gaps
}

/// The folder of a container's log of the json-file driver, and the log's name.
pub fn log_path(container: &TestContainer) -> std::path::PathBuf {
    docker(None, &["inspect", "-f", "{{.LogPath}}", &container.name]).into()
}
