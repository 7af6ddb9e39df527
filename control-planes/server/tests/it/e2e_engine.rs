//! C7 with real parts: a private container engine under a separate agent is killed and stopped in the middle
//! of a log follow. What needs the engine says so, everything else goes on, and so does the follow.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    agent_process::AgentProcess,
    cli_server::{Server, eventually_within},
    numbers::{Follow, Numbers},
    private_engine::PrivateEngine,
};

/// How long a busy machine, and an agent that waits for its engine, may take.
const SOON: Duration = Duration::from_secs(60);
const EACH: usize = 2_000;

/// A follow, and what it tells on standard error.
struct Watched {
    follow: Follow,
    notes: PathBuf,
}

impl Watched {
    /// As a person has it: standard error is a terminal.
    fn in_terminal(server: &Server, dir: &TempDir, numbers: &mut Numbers) -> Self {
        let notes = dir.path().join(&numbers.name);
        let place = numbers.at("web-2");
        let logs = server.command(&[]);
        // What the log holds goes past the terminal.
        let line = format!(
            "exec 3>&1; exec script -qefc \"exec {} logs -f {place} >&3\" /dev/null >{}",
            logs.get_program().display(),
            notes.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &line]).env_clear();
        let variables = logs.get_envs();
        command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
        Self::start(&mut command, notes, numbers)
    }

    /// As a program has it.
    fn plain(server: &Server, dir: &TempDir, numbers: &mut Numbers) -> Self {
        let notes = dir.path().join(&numbers.name);
        let mut command = server.command(&["logs", "-f", &numbers.at("web-2")]);
        command.stderr(File::create(&notes).unwrap());
        Self::start(&mut command, notes, numbers)
    }

    /// Follows a log, of which the last lines are still under way.
    fn start(command: &mut Command, notes: PathBuf, numbers: &mut Numbers) -> Self {
        let follow = Follow::start(command);
        numbers.print(EACH);
        follow.reaches(EACH, SOON);
        follow.hold_at(Some(EACH + EACH / 2));
        numbers.print(EACH);
        follow.reaches(EACH + EACH / 2, SOON);
        Self { follow, notes }
    }

    fn says(&self, text: &str) {
        eventually_within(SOON, &format!("the follow says {text:?}"), || {
            self.notes().contains(text)
        });
    }

    fn notes(&self) -> String {
        fs::read_to_string(&self.notes).unwrap_or_default()
    }

    /// Waits for its end: the exit code. What the engine had not taken when it was killed is nowhere.
    fn finish(self) -> Option<i32> {
        let (lines, code) = self.follow.finish(60);
        let printed = EACH + EACH / 2..=2 * EACH;
        assert!(printed.contains(&lines), "{lines} lines");
        code
    }
}

#[test]
fn an_engine_that_goes_away_under_a_follow_is_told_and_the_rest_goes_on() {
    let mut engine = PrivateEngine::start();
    let dir = TempDir::new().unwrap();
    let flags = ["--no-integrated-agent"];
    let server = Server::start_with(TempDir::new().unwrap(), "127.0.0.1:0", &flags);
    let socket = format!("unix://{}", engine.socket().display());
    let settings = [("DOCKER_HOST", socket.as_str())];
    let _agent = AgentProcess::join(&server, "web-2", &server.url, &settings);
    // Killed, without a word: its containers live until the next engine ends them, as it does.
    let mut numbers = Numbers::start(Some(&engine.socket()));
    let watched = Watched::in_terminal(&server, &dir, &mut numbers);
    engine.kill();
    watched.follow.hold_at(None);
    watched.says("the container engine at unix://");
    let place = numbers.at("web-2");
    let in_need: [&[&str]; 4] = [
        &["ps", "web-2"],
        &["logs", &place],
        &["logs", "-f", &place],
        &["exec", &place, "--", "true"],
    ];
    for args in in_need {
        let done = server.run(args);
        assert_eq!(done.code, 3, "{args:?}: {done:?}");
        let says = format!("the container engine at {socket} does not answer");
        assert!(done.err.contains(&says), "{args:?}: {done:?}");
        assert!(done.err.contains("docker info"), "{args:?}: {done:?}");
    }
    assert_eq!(server.out(&["exec", "web-2", "--", "echo", "on"]), "on\n");
    let status = server.json(&["status", "web-2"]);
    assert_eq!(status["engine"]["reachable"], false);
    assert_eq!(status["connection"]["state"], "connected");
    engine.up();
    assert_eq!(watched.finish(), Some(0), "the container has ended");
    let ps = server.json(&["ps", "web-2", "--all"]);
    assert_eq!(ps[0]["name"], numbers.name);
    assert_eq!(ps[0]["state"], "exited");
    drop(numbers);

    // When it is back, the container is gone before the follow, which sleeps meanwhile, can ask again.
    let mut numbers = Numbers::start(Some(&engine.socket()));
    let watched = Watched::plain(&server, &dir, &mut numbers);
    watched.follow.signal("STOP");
    engine.kill();
    engine.up();
    engine.docker(&["rm", "-f", &numbers.name]);
    watched.follow.hold_at(None);
    watched.follow.signal("CONT");
    watched.says(&format!("error: there is no container {}", numbers.name));
    assert_eq!(watched.notes().lines().count(), 2, "{}", watched.notes());
    assert_eq!(watched.finish(), Some(1));
    drop(numbers);

    // Stopped in order, which ends the container first.
    let mut numbers = Numbers::start(Some(&engine.socket()));
    let watched = Watched::in_terminal(&server, &dir, &mut numbers);
    engine.down();
    watched.follow.hold_at(None);
    engine.up();
    assert_eq!(watched.finish(), Some(0));
    drop(numbers);

    // It hangs, and then it does not: the container has noticed nothing, and neither has the log.
    let mut numbers = Numbers::start(Some(&engine.socket()));
    let watched = Watched::in_terminal(&server, &dir, &mut numbers);
    engine.hang();
    watched.follow.hold_at(None);
    watched.says("it took the connection and said nothing");
    let done = server.run(&["ps", "web-2"]);
    assert_eq!(done.code, 3, "{done:?}");
    engine.go_on();
    numbers.print(EACH);
    watched.follow.reaches(3 * EACH, SOON);
    numbers.end();
    assert_eq!(watched.follow.finish(60), (3 * EACH, Some(0)));
}
