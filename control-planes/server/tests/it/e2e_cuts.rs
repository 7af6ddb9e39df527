//! C4 with real parts: the agent's program and the command line, each behind a proxy that cuts, the control
//! plane's program between them, and a container of the real engine whose log is followed.

use std::time::Duration;

use tempfile::TempDir;

use crate::{
    agent_process::AgentProcess,
    cli_server::Server,
    engine_relay::EngineRelay,
    numbers::{Follow, Numbers},
    proxy::{Direction, GREETING, Proxy},
};

const LINES: usize = 200_000;
/// Of the agent's link, and of the caller's.
const CUTS: usize = 100;
/// How long a busy machine may take for what takes a moment.
const SOON: Duration = Duration::from_secs(30);

/// A control plane whose agents come back as soon as may be.
fn plane() -> Server {
    let flags = ["--no-integrated-agent", "--redial-spread", "1ms"];
    Server::start_with(TempDir::new().unwrap(), "127.0.0.1:0", &flags)
}

#[test]
fn a_follow_of_200_000_lines_survives_a_hundred_cuts_of_either_link() {
    let server = plane();
    let dir = TempDir::new().unwrap();
    let engine = EngineRelay::start(dir.path());
    let agents = Proxy::to(server.address(), Direction::Up);
    let callers = Proxy::to(server.address(), Direction::Down);
    let docker = [("DOCKER_HOST", engine.address.as_str())];
    let _agent = AgentProcess::join(&server, "web-2", &agents.url, &docker);
    let mut numbers = Numbers::start(None);
    let mut command = server.command(&["logs", "-f", &numbers.at("web-2")]);
    let follow = Follow::start(command.env("TURBOPANEL_URL", &callers.url));

    let each = LINES / (2 * CUTS + 1);
    for cut in 0..2 * CUTS {
        let (link, whose) = match cut % 2 {
            0 => (&agents, "the agent"),
            _ => (&callers, "the caller"),
        };
        let before = link.carried();
        numbers.print(each);
        // More than a greeting, and each time another part of what was printed.
        let more = GREETING + (cut as u64 * 7919) % 60_000;
        assert!(
            link.carries(before + more, SOON),
            "cut {cut}: {whose} is not back; {} lines have come",
            follow.lines()
        );
        // Cut so soon, what was carried may not have been taken; and whoever has got nothing of a call by
        // its link waits longer for the next one. So every other cut is of a link that was of use.
        if cut % 4 < 2 {
            follow.reaches(cut * each + each / 10, SOON);
        }
        assert_eq!(link.cut(), 1, "cut {cut} of {whose}'s link");
    }
    // By a connection after the last cut, too.
    numbers.print(LINES - 2 * CUTS * each);
    numbers.end();
    assert_eq!(follow.finish(60), (LINES, Some(0)));
    assert!(agents.live() > CUTS, "{} connections", agents.live());
    assert!(callers.live() > CUTS, "{} connections", callers.live());
    assert_eq!(engine.logs(), 1, "the call went on, and was not made again");
}
