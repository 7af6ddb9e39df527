//! The program `turbopanel` under test: a control plane of its own in a process, and commands against it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::plane::TestPlane;

pub const IMAGE: &str = "turbopanel/test:busybox";

/// `turbopanel serve` in a process, stopped with SIGTERM when it is dropped.
pub struct Server {
    pub url: String,
    pub greeting: String,
    process: Child,
    dir: TempDir,
    flags: Vec<String>,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(TempDir::new().unwrap(), "127.0.0.1:0", &[])
    }

    pub fn start_with(dir: TempDir, listen: &str, flags: &[&str]) -> Self {
        let flags: Vec<String> = flags.iter().copied().map(str::to_owned).collect();
        let (process, greeting) = serve(dir.path(), listen, &flags);
        let url = greeting
            .split_whitespace()
            .find(|word| word.starts_with("http://"));
        let url = url.unwrap().to_owned();
        Self {
            url,
            greeting,
            process,
            dir,
            flags,
        }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Starts it again at the same address with the same state, after it was stopped or killed.
    pub fn start_again(&mut self) {
        let (process, _) = serve(self.dir.path(), self.address(), &self.flags);
        self.process = process;
    }

    /// A command against this control plane; its token comes from the data directory.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command
            .args(args)
            .env("TURBOPANEL_URL", &self.url)
            .env("TURBOPANEL_DATA_DIR", self.dir.path())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Done {
        finish(&mut self.command(args), b"")
    }

    /// What a command prints that succeeds.
    pub fn out(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        done.out
    }

    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let mut args = args.to_vec();
        args.push("--json");
        serde_json::from_str(&self.out(&args)).unwrap()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Ends it as `docker stop` does; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        signal(&self.process, "TERM");
        wait(&mut self.process, 20)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn serve(dir: &Path, listen: &str, flags: &[String]) -> (Child, String) {
    let mut process = program()
        .args(["serve", "--listen", listen])
        .args(flags)
        .env("TURBOPANEL_DATA_DIR", dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut greeting = String::new();
    let mut lines = BufReader::new(process.stdout.take().unwrap());
    while !(greeting.contains("Try next") && greeting.ends_with("\n\n")) {
        assert_ne!(
            lines.read_line(&mut greeting).unwrap(),
            0,
            "it ended: {greeting}"
        );
    }
    (process, greeting)
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.try_wait().unwrap().is_none() {
            self.stop();
        }
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The program with nothing in its environment that says anything about control planes.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turbopanel"));
    command.env_clear().env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    command
}

/// A command against a control plane in this process, as its administrator.
pub fn against(plane: &TestPlane, args: &[&str]) -> Command {
    let mut command = program();
    command
        .args(args)
        .env("TURBOPANEL_URL", format!("http://{}", plane.address))
        .env("TURBOPANEL_TOKEN", &plane.admin)
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end, which must come within 30 s.
pub fn finish(command: &mut Command, input: &[u8]) -> Done {
    let output = finish_bytes(command, input);
    Done {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub fn finish_bytes(command: &mut Command, input: &[u8]) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    thread::scope(|scope| {
        if let Some(mut stdin) = child.stdin.take() {
            // A command that ends before it has read everything is a result of its own.
            scope.spawn(move || stdin.write_all(input));
        }
        let read = scope.spawn(move || {
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).map(|_| bytes)
        });
        let read_err = scope.spawn(move || {
            let mut bytes = Vec::new();
            err.read_to_end(&mut bytes).map(|_| bytes)
        });
        let code = wait(&mut child, 30);
        assert!(
            code.is_some() || child.try_wait().unwrap().is_some(),
            "no end within 30 s"
        );
        Output {
            status: child.wait().unwrap(),
            stdout: read.join().unwrap().unwrap(),
            stderr: read_err.join().unwrap().unwrap(),
        }
    })
}

/// Sends a signal to a process that a test started.
pub fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap()
            .success()
    );
}

/// The exit code of a process that must end within so many seconds; it is killed when it does not.
pub fn wait(child: &mut Child, seconds: u64) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("no end within {seconds} s");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Asks until it is so, for 15 s at most.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(Duration::from_secs(15), what, condition);
}

/// Asks until it is so.
pub fn eventually_within(time: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + time;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {time:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A container of the real engine, removed when it is dropped.
pub struct Container(pub String);

impl Container {
    pub fn run(script: &str) -> Self {
        Self::run_with(&[], script)
    }

    pub fn run_with(flags: &[&str], script: &str) -> Self {
        let mut args = vec![
            "run",
            "-d",
            "--label",
            "turbopanel.test=cli",
            "--network",
            "none",
        ];
        args.extend(flags);
        args.extend([IMAGE, "sh", "-c", script]);
        let output = Command::new("docker").args(&args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "`scripts/engine.sh image` makes what is needed: {said}"
        );
        Self(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    pub fn at(&self, agent: &str) -> String {
        format!("{agent}/{}", self.0)
    }

    pub fn wait(&self) {
        let done = Command::new("docker")
            .args(["wait", &self.0])
            .output()
            .unwrap();
        assert!(done.status.success());
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", &self.0]).output();
    }
}
