//! A hundred callers whose follows come through one link and who stop reading: what that costs the agent, and whom.

use std::{fs, time::Duration};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use turbopanel_control_plane::proto::agent::StreamLogsRequest;

use crate::{
    agent_process::AgentProcess,
    cli_server::{Server, eventually_within},
    every_line::{EveryLine, caller},
    numbers::Numbers,
};

const CALLERS: usize = 100;
/// Some 20 MB: far more than links and sockets hold.
const LINES: usize = 200_000;
const SOON: Duration = Duration::from_secs(60);

#[test]
fn callers_that_stop_reading_cost_the_agent_little_and_hold_up_nobody() {
    let flags = ["--no-integrated-agent"];
    let server = Server::start_with(TempDir::new().unwrap(), "127.0.0.1:0", &flags);
    let agent = AgentProcess::join(&server, "web-2", &server.url, &[]);
    let mut numbers = Numbers::start(None);
    let runtime = Runtime::new().unwrap();
    let token = server.json(&["token", "create", "laptop", "--admin"])["token"].clone();
    let request = StreamLogsRequest {
        container: numbers.name.clone(),
        follow: true,
        ..StreamLogsRequest::default()
    };
    // All by one link, which the first of them must not fill.
    let channel = runtime.block_on(async { caller(&server.url, token.as_str().unwrap(), "web-2") });
    let follow = || EveryLine::start(&runtime, channel.clone(), request.clone());
    let stalled: Vec<EveryLine> = (0..CALLERS).map(|_| follow()).collect();
    numbers.print(1);
    for follow in &stalled {
        follow.reaches(1, SOON);
        follow.hold(true);
    }
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<usize>().unwrap() >> 10
    };
    let before = memory();
    numbers.print(LINES - 1);
    // Another caller reads all of it meanwhile, by the same link.
    let other = follow();
    other.reaches(LINES, SOON);
    assert!(server.out(&["ps", "web-2"]).contains(&numbers.name));
    let mut last = 0;
    eventually_within(SOON, "nothing more is taken", || {
        let before = std::mem::replace(&mut last, memory());
        std::thread::sleep(Duration::from_millis(500));
        before == last
    });
    // A batch read and one under way for each, at most, and what the allocator keeps: not what they have not read.
    let grown = memory().saturating_sub(before);
    println!("{before} MiB before, {grown} MiB more for {CALLERS} callers that do not read");
    assert!(
        grown < CALLERS * 3 / 2,
        "{before} MiB, and {grown} MiB more"
    );
    // They go on where they stopped, those that do.
    let mut stalled = stalled;
    stalled.truncate(5);
    numbers.end();
    for follow in stalled {
        follow.hold(false);
        let account = follow.finish(SOON);
        assert_eq!((account.last, account.gaps.len()), (LINES, 0));
    }
    assert_eq!(other.finish(SOON).last, LINES);
}
