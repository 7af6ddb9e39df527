//! A container that prints numbered lines when it is told to, and a follow of its log that checks each.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::cli_server::{IMAGE, signal, wait};

/// What stands after each number, so that a line is about 100 bytes long.
pub const PADDING: &str =
    "it is one of many lines of a log that is followed while everything under it is cut";

/// A container that prints as many lines as each line of a pipe says, which is a file, so that it outlives its
/// engine. Removed when it is dropped.
pub struct Numbers {
    pub name: String,
    engine: Vec<String>,
    pipe: File,
    _dir: TempDir,
}

impl Numbers {
    /// On the shared engine, or on the one with this socket.
    pub fn start(socket: Option<&Path>) -> Self {
        Self::start_with(socket, &[])
    }

    /// With these options of `docker run`.
    pub fn start_with(socket: Option<&Path>, options: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tp-numbers-{}-{number}", std::process::id());
        let engine = socket.map(|path| vec!["-H".to_owned(), format!("unix://{}", path.display())]);
        let engine = engine.unwrap_or_default();
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("pipe");
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        // Open at both ends, here and there, nobody waits for the other.
        let pipe = File::options().read(true).write(true).open(&path).unwrap();
        let script = format!(
            r#"$1 == "end" {{ exit }} {{ for (i = 0; i < $1; i++) printf "%d {PADDING}\n", ++n; fflush() }}"#
        );
        let output = Command::new("docker")
            .args(&engine)
            .args(["run", "-d", "--network", "none", "--name", &name, "-v"])
            .arg(format!("{}:/numbers", dir.path().display()))
            .args(options)
            .args([IMAGE, "sh", "-c", r#"exec awk "$0" <>/numbers/pipe"#])
            .arg(&script)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        Self {
            name,
            engine,
            pipe,
            _dir: dir,
        }
    }

    /// Prints so many lines more, at once.
    pub fn print(&mut self, lines: usize) {
        writeln!(self.pipe, "{lines}").unwrap();
    }

    /// Ends the container when it has printed everything.
    pub fn end(&mut self) {
        writeln!(self.pipe, "end").unwrap();
    }

    pub fn at(&self, agent: &str) -> String {
        format!("{agent}/{}", self.name)
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
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
    /// The engine is killed: what it had taken and not written is lost, from within a line to within another.
    lossy: bool,
}

impl Follow {
    pub fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        let reading = thread::spawn(move || {
            let mut over = false;
            for (number, line) in (1..).zip(lines) {
                let line = line.unwrap();
                if over {
                    continue;
                }
                let now = shared.now.lock().unwrap();
                let held = |now: &mut Now| now.hold.is_some_and(|last| number > last);
                let mut now = shared.changed.wait_while(now, held).unwrap();
                if line != format!("{number} {PADDING}") {
                    let rest = line.trim_start_matches(|char: char| char.is_ascii_digit());
                    if now.lossy && PADDING.ends_with(rest.trim_start()) {
                        // Reading goes on, so that the program need not notice.
                        over = true;
                        continue;
                    }
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

    /// From now on a line that is missing, or its beginning, ends what is counted.
    pub fn loses_with_its_engine(&self) {
        self.progress.now.lock().unwrap().lossy = true;
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
