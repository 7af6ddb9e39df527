//! A log follow with real parts, whose control plane or agent is stopped and killed under it.

use std::time::Duration;

use tempfile::TempDir;

use crate::{
    agent_process::AgentProcess,
    cli_server::Server,
    engine_relay::EngineRelay,
    numbers::{Follow, Numbers},
};

/// How long a busy machine, and the waits between dials, may take.
const SOON: Duration = Duration::from_secs(60);

/// An agent of its own, a control plane that has none built in, and how often the engine's log is read.
fn stage(dir: &TempDir) -> (Server, AgentProcess, EngineRelay) {
    let flags = ["--no-integrated-agent", "--redial-spread", "1ms"];
    let server = Server::start_with(TempDir::new().unwrap(), "127.0.0.1:0", &flags);
    let engine = EngineRelay::start(dir.path());
    let docker = [("DOCKER_HOST", engine.address.as_str())];
    let agent = AgentProcess::join(&server, "web-2", &server.url, &docker);
    (server, agent, engine)
}

#[test]
fn a_follow_of_200_000_lines_survives_stops_and_kills_of_the_control_plane() {
    const ROUNDS: usize = 5;
    const EACH: usize = 200_000 / ROUNDS;
    let dir = TempDir::new().unwrap();
    let (mut server, _agent, engine) = stage(&dir);
    let mut numbers = Numbers::start(None);
    let follow = Follow::start(&mut server.command(&["logs", "-f", &numbers.at("web-2")]));
    for round in 0..ROUNDS {
        // However fast they are: what comes next comes in the middle.
        follow.hold_at(Some(round * EACH + EACH / 2));
        numbers.print(EACH);
        follow.reaches(round * EACH + EACH / 10, SOON);
        if round % 2 == 0 {
            assert_eq!(server.stop(), Some(0));
        } else {
            server.kill();
        }
        follow.hold_at(None);
        server.start_again();
    }
    follow.reaches(ROUNDS * EACH, SOON);
    numbers.end();
    assert_eq!(follow.finish(60), (ROUNDS * EACH, Some(0)));
    assert_eq!(engine.logs(), 1, "the agent kept the call");
}

#[test]
fn a_follow_goes_on_after_kill_9_of_its_agent() {
    const ROUNDS: usize = 3;
    const EACH: usize = 20_000;
    let dir = TempDir::new().unwrap();
    let (server, mut agent, engine) = stage(&dir);
    let mut numbers = Numbers::start(None);
    let follow = Follow::start(&mut server.command(&["logs", "-f", &numbers.at("web-2")]));
    for round in 0..ROUNDS {
        // However fast they are: what comes next comes in the middle.
        follow.hold_at(Some(round * EACH + EACH / 2));
        numbers.print(EACH);
        follow.reaches(round * EACH + EACH / 10, SOON);
        agent.kill();
        follow.hold_at(None);
        agent.start_again();
    }
    // The calls died with their agents: the log was asked for again, from the last line on.
    follow.reaches(ROUNDS * EACH, SOON);
    assert_eq!(engine.logs(), 1 + ROUNDS);
    numbers.end();
    assert_eq!(follow.finish(60), (ROUNDS * EACH, Some(0)));
    assert_eq!(agent.stop(), Some(0));
}
