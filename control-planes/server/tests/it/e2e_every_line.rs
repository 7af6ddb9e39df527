//! Everything at once under two follows of one log, by the container and by a selection: rotation, cuts of either link,
//! an agent that is killed, an engine that is restarted and one that is killed, and readers that fall too far behind. Each
//! line is accounted for.

use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use turbopanel_control_plane::proto::agent::{LogSelection, StreamLogsRequest};

use crate::{
    agent_process::AgentProcess,
    cli_server::{Server, eventually_within},
    every_line::{EveryLine, caller},
    numbers::Numbers,
    private_engine::PrivateEngine,
    proxy::{Direction, GREETING, Proxy},
};

const LINES: usize = 500_000;
/// Of the agent's link, and of the caller's.
const CUTS: usize = 100;
/// More than the engine keeps.
const FLOOD: usize = 60_000;
/// How long a busy machine may take for what takes a moment.
const SOON: Duration = Duration::from_secs(60);

/// A container that prints, and who reads it.
struct Stage {
    engine: PrivateEngine,
    numbers: Numbers,
    printed: usize,
    follows: [EveryLine; 2],
}

impl Stage {
    fn print(&mut self, lines: usize) {
        self.numbers.print(lines);
        self.printed += lines;
    }

    /// Every follow has come so far.
    fn reach(&self, line: usize) {
        for follow in &self.follows {
            follow.reaches(line, SOON);
        }
    }

    /// Prints more than the engine keeps, which has all of it then; and the oldest line that it keeps.
    fn flood(&mut self) -> usize {
        self.print(FLOOD);
        let number = |line: &str| line.split(' ').next().unwrap().parse::<usize>().unwrap();
        eventually_within(SOON, "the engine has it all", || {
            let last = self
                .engine
                .docker(&["logs", "--tail", "1", &self.numbers.name]);
            number(&last) == self.printed
        });
        let all = self.engine.docker(&["logs", &self.numbers.name]);
        number(all.lines().next().unwrap())
    }

    /// One more gap, no larger than it must be.
    fn has_gap(&self, number: usize, after: usize, before: usize) {
        self.reach(self.printed);
        for follow in &self.follows {
            let gaps = follow.account().gaps;
            assert_eq!(gaps.len(), number, "{gaps:?}");
            let (last, next) = gaps[number - 1];
            assert!(
                last >= after && next == before,
                "{gaps:?}: {after} {before}"
            );
        }
    }
}

#[test]
fn every_line_of_500_000_is_accounted_for() {
    let engine = PrivateEngine::start_with(&["--live-restore"]);
    let flags = ["--no-integrated-agent", "--redial-spread", "1ms"];
    let server = Server::start_with(TempDir::new().unwrap(), "127.0.0.1:0", &flags);
    let agents = Proxy::to(server.address(), Direction::Up);
    let callers = Proxy::to(server.address(), Direction::Down);
    let socket = format!("unix://{}", engine.socket().display());
    let settings = [("DOCKER_HOST", socket.as_str())];
    let mut agent = AgentProcess::join(&server, "web-2", &agents.url, &settings);
    let rotated = ["--log-opt", "max-size=1m", "--log-opt", "max-file=5"];
    let numbers = Numbers::start_with(Some(&engine.socket()), &rotated);

    let runtime = Runtime::new().unwrap();
    let token = server.json(&["token", "create", "laptop", "--admin"])["token"].clone();
    let channel =
        runtime.block_on(async { caller(&callers.url, token.as_str().unwrap(), "web-2") });
    let one = StreamLogsRequest {
        container: numbers.name.clone(),
        follow: true,
        ..StreamLogsRequest::default()
    };
    let many = StreamLogsRequest {
        container: String::new(),
        selection: Some(LogSelection {
            containers: vec![numbers.name.clone()],
            ..LogSelection::default()
        }),
        ..one.clone()
    };
    let mut stage = Stage {
        follows: [one, many].map(|request| EveryLine::start(&runtime, channel.clone(), request)),
        engine,
        numbers,
        printed: 0,
    };

    let each = (LINES - 2 * FLOOD) / (2 * CUTS + 4);
    for cut in 0..2 * CUTS {
        let (link, whose) = match cut % 2 {
            0 => (&agents, "the agent"),
            _ => (&callers, "the caller"),
        };
        let before = link.carried();
        stage.print(each);
        // More than a greeting, and each time another part of what was printed.
        let more = GREETING + (cut as u64 * 7919) % 60_000;
        assert!(
            link.carries(before + more, SOON),
            "cut {cut}: {whose} is not back; {:?}",
            stage.follows.each_ref().map(EveryLine::account)
        );
        // The other half of the cuts come while it is still under way; rotation does not outrun it so.
        if cut % 4 < 2 {
            stage.reach(stage.printed - each + each / 10);
        }
        assert_eq!(link.cut(), 1, "cut {cut} of {whose}'s link");
        match cut {
            // What is printed while there is no agent, and what is more than is kept.
            40 => {
                agent.kill();
                // What the proxy has of its connection.
                agents.cut();
                stage.print(each);
                agent.start_again();
            }
            60 => {
                stage.reach(stage.printed);
                agent.kill();
                agents.cut();
                let (after, before) = (stage.printed, stage.flood());
                agent.start_again();
                stage.has_gap(1, after, before);
            }
            // Idle, the engine has nothing in hand that is lost with it; the container prints without it.
            80 => {
                stage.reach(stage.printed);
                stage.engine.down();
                stage.print(each);
                stage.engine.up();
                stage.reach(stage.printed);
            }
            100 => {
                stage.reach(stage.printed);
                stage.engine.kill();
                stage.print(each);
                stage.engine.up();
                stage.reach(stage.printed);
            }
            // Callers that do not read hold up the agent, and the engine does not wait for it.
            120 => {
                stage.follows.iter().for_each(|follow| follow.hold(true));
                let (after, before) = (stage.printed - 2 * each, stage.flood());
                stage.follows.iter().for_each(|follow| follow.hold(false));
                stage.has_gap(2, after, before);
            }
            _ => {}
        }
    }
    stage.print(LINES - stage.printed);
    stage.numbers.end();
    assert!(agents.live() >= CUTS, "{} connections", agents.live());
    assert!(callers.live() >= CUTS, "{} connections", callers.live());
    for follow in stage.follows {
        let account = follow.finish(SOON);
        assert_eq!(
            (account.last, account.gaps.len()),
            (LINES, 2),
            "{account:?}"
        );
        // By cursor after each kill and restart alone: the calls went on over the cuts.
        assert!(account.calls > 4, "{account:?}");
        println!("{account:?}");
    }
    assert_eq!(agent.stop(), Some(0));
}
