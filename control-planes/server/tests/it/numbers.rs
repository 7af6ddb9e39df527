//! A container that prints numbered lines when it is told to, and a follow of its log that checks each.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::cli_server::{IMAGE, eventually, signal, wait};

/// What stands after each number, so that a line is about 100 bytes long.
const PADDING: &str =
    "it is one of many lines of a log that is followed while everything under it is cut";

/// A container that prints as many lines as each line of its input says. Removed when it is dropped.
pub struct Numbers {
    pub name: String,
    engine: Vec<String>,
    input: Option<ChildStdin>,
    docker: Child,
}

impl Numbers {
    /// On the shared engine, or on the one with this socket.
    pub fn start(socket: Option<&Path>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tp-numbers-{}-{number}", std::process::id());
        let engine = socket.map(|path| vec!["-H".to_owned(), format!("unix://{}", path.display())]);
        let engine = engine.unwrap_or_default();
        let script =
            format!(r#"{{ for (i = 0; i < $1; i++) printf "%d {PADDING}\n", ++n; fflush() }}"#);
        let mut docker = Command::new("docker")
            .args(&engine)
            .args(["run", "-i", "-a", "stdin", "--network", "none", "--name"])
            .args([&name, IMAGE, "awk", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = docker.stdin.take();
        let numbers = Self {
            name,
            engine,
            input,
            docker,
        };
        eventually("the container runs", || {
            let output = Command::new("docker")
                .args(&numbers.engine)
                .args(["inspect", "-f", "{{.State.Running}}", &numbers.name])
                .output();
            output.unwrap().stdout == b"true\n"
        });
        numbers
    }

    /// Prints so many lines more, at once.
    pub fn print(&mut self, lines: usize) {
        writeln!(self.input.as_ref().unwrap(), "{lines}").unwrap();
    }

    /// Ends the container when it has printed everything.
    pub fn end(&mut self) {
        self.input = None;
    }

    pub fn at(&self, agent: &str) -> String {
        format!("{agent}/{}", self.name)
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.docker.kill();
        let _ = self.docker.wait();
        // A private engine may be hung when a test fails.
        let _ = Command::new("timeout")
            .args(["20", "docker"])
            .args(&self.engine)
            .args(["rm", "-f", "-v", &self.name])
            .output();
    }
}

/// `turbopanel logs -f` of such a container. Each line must be the next one.
pub struct Follow {
    process: Child,
    progress: Arc<Progress>,
    reading: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Progress {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Default)]
struct Now {
    lines: usize,
    /// Nothing is read beyond this line.
    hold: Option<usize>,
    ended: bool,
    wrong: Option<String>,
}

impl Follow {
    pub fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        let reading = thread::spawn(move || {
            for (number, line) in (1..).zip(lines) {
                let line = line.unwrap();
                let now = shared.now.lock().unwrap();
                let held = |now: &mut Now| now.hold.is_some_and(|last| number > last);
                let mut now = shared.changed.wait_while(now, held).unwrap();
                if line != format!("{number} {PADDING}") {
                    now.wrong = Some(format!("line {number} is {line:?}"));
                    break;
                }
                now.lines = number;
                shared.changed.notify_all();
            }
            shared.now.lock().unwrap().ended = true;
            shared.changed.notify_all();
        });
        Self {
            process,
            progress,
            reading: Some(reading),
        }
    }

    /// Reads this line and none after it, or all of them.
    pub fn hold_at(&self, line: Option<usize>) {
        self.progress.now.lock().unwrap().hold = line;
        self.progress.changed.notify_all();
    }

    /// Waits until so many lines have come.
    pub fn reaches(&self, lines: usize, within: Duration) {
        let deadline = Instant::now() + within;
        let mut now = self.progress.now.lock().unwrap();
        while now.lines < lines {
            assert_eq!(now.wrong, None);
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !now.ended && !left.is_zero(),
                "{} of {lines} lines came within {within:?}, ended: {}",
                now.lines,
                now.ended
            );
            now = self.progress.changed.wait_timeout(now, left).unwrap().0;
        }
    }

    /// Sends the program a signal.
    pub fn signal(&self, name: &str) {
        signal(&self.process, name);
    }

    /// How many lines have come.
    pub fn lines(&self) -> usize {
        self.progress.now.lock().unwrap().lines
    }

    /// Waits for its own end: how many lines came, and the exit code.
    pub fn finish(mut self, seconds: u64) -> (usize, Option<i32>) {
        let code = wait(&mut self.process, seconds);
        self.reading.take().unwrap().join().unwrap();
        let now = self.progress.now.lock().unwrap();
        assert_eq!(now.wrong, None);
        (now.lines, code)
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
