//! Processes on the host that the agent runs on, each in a process group of its own that dies whole.

pub mod own;
pub mod user;

use std::{
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use rustix::{
    io::ioctl_fionread,
    process::{Pid, Signal as OsSignal, kill_process_group},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::Semaphore,
    task::spawn_blocking,
    time::timeout,
};

use super::{docker::Signal, host};
use user::{User, UserError};

/// What is read of an output at once.
const CHUNK: usize = 32 * 1024;
/// How long a start may take. It reads files: one on a dead network file system never comes back.
const START: Duration = Duration::from_secs(10);
/// Starts under way, at most: each holds a thread, and one that never comes back holds it for ever.
static STARTING: Semaphore = Semaphore::const_new(8);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to run.
#[derive(Clone)]
pub struct ProcessRequest {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Names and values, added to the few that are always set.
    pub environment: Vec<(String, String)>,
    /// The working directory. None: the user's home.
    pub working_dir: Option<PathBuf>,
    /// The user, by name or number. None: the agent's.
    pub user: Option<String>,
}

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no such program.
    #[error(
        "there is no program {program} on the host: give its full path, or a name that PATH ({PATH}) leads to"
    )]
    ProgramNotFound {
        /// As it was asked for.
        program: String,
    },
    /// The agent reaches no program of its host.
    #[error(
        "the agent runs in a container without programs, and cannot run {program} on the host: name one of the host's containers, or run the agent as a program on the host"
    )]
    NoPrograms {
        /// As it was asked for.
        program: String,
    },
    /// There is no such directory.
    #[error("there is no directory {directory} on the host")]
    DirectoryNotFound {
        /// As it was asked for.
        directory: String,
    },
    /// The user is not known.
    #[error(transparent)]
    User(#[from] UserError),
    /// The system refused.
    #[error("the system does not let the agent run {program}: {source}")]
    Denied {
        /// As it was asked for.
        program: String,
        /// What it said.
        source: io::Error,
    },
    /// More arguments or variables than the system takes.
    #[error(
        "the arguments and the environment of {program} are longer than the system takes: give the rest on standard input"
    )]
    TooLong {
        /// As it was asked for.
        program: String,
    },
    /// The file system did not answer.
    #[error(
        "{program} was not started within {} s: see whether the file systems that hold it and its working directory answer (a network share, for example)", START.as_secs()
    )]
    TooSlow {
        /// As it was asked for.
        program: String,
    },
    /// Anything else.
    #[error("{program} was not started: {source}")]
    Failed {
        /// As it was asked for.
        program: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    /// What it prints.
    pub output: ProcessOutput,
    /// Its standard input.
    pub input: ProcessInput,
    /// The process itself. Dropping it kills its group.
    pub group: ProcessGroup,
}

/// A piece of what a process prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Printed {
    /// On standard output.
    Stdout(Bytes),
    /// On standard error.
    Stderr(Bytes),
}

/// Both outputs.
#[derive(Debug)]
pub struct ProcessOutput {
    stdout: Pipe<ChildStdout>,
    stderr: Pipe<ChildStderr>,
}

/// One output, until it has ended.
#[derive(Debug)]
struct Pipe<T> {
    from: Option<T>,
    buffer: BytesMut,
    /// Bytes that are still read; none: all that come.
    left: Option<u64>,
}

/// Standard input. Dropping it ends the input.
#[derive(Debug)]
pub struct ProcessInput(Option<ChildStdin>);

/// A process and everything in its group.
#[derive(Debug)]
pub struct ProcessGroup {
    child: Child,
    group: Option<Pid>,
}

/// Starts a process. Nothing of the agent's own environment is passed on.
pub async fn start(request: ProcessRequest) -> Result<Process, ProcessError> {
    let program = shown(&request.program);
    let starting = async {
        let permit = STARTING.acquire().await;
        // Given up on, it still ends by itself: what was started is dropped, and with that killed.
        spawn_blocking(move || {
            let _permit = permit;
            start_here(&request)
        })
        .await
    };
    match timeout(START, starting).await {
        Ok(Ok(started)) => started,
        Ok(Err(stopped)) => Err(ProcessError::Failed {
            program,
            source: io::Error::other(stopped),
        }),
        Err(_) => Err(ProcessError::TooSlow { program }),
    }
}

/// Blocks while it reads files.
fn start_here(request: &ProcessRequest) -> Result<Process, ProcessError> {
    let user = User::find(request.user.as_deref(), Path::new("/etc/passwd"))?;
    let directory = request.working_dir.as_ref().unwrap_or(&user.home);
    let directory = match (directory.is_dir(), &request.working_dir) {
        (true, _) => directory,
        (false, None) => Path::new("/"),
        (false, Some(missing)) => {
            let directory = shown(&missing.to_string_lossy());
            return Err(ProcessError::DirectoryNotFound { directory });
        }
    };
    let mut command = Command::new(&request.program);
    command
        .args(&request.arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", &user.home)
        .env("USER", &user.name)
        .env("LOGNAME", &user.name)
        .env("SHELL", &user.shell)
        .env("LANG", "C.UTF-8")
        .envs(
            request
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if request.user.is_some() {
        // The standard library drops the agent's supplementary groups with this.
        command.gid(user.gid).uid(user.uid);
    }
    let program = shown(&request.program);
    let mut child = command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound if !host::has_programs() => ProcessError::NoPrograms { program },
        io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename => {
            ProcessError::ProgramNotFound { program }
        }
        io::ErrorKind::PermissionDenied => ProcessError::Denied { program, source },
        io::ErrorKind::ArgumentListTooLong => ProcessError::TooLong { program },
        _ => ProcessError::Failed { program, source },
    })?;
    let group = child.id().and_then(|id| Pid::from_raw(id as i32));
    Ok(Process {
        output: ProcessOutput {
            stdout: Pipe::new(child.stdout.take()),
            stderr: Pipe::new(child.stderr.take()),
        },
        input: ProcessInput(child.stdin.take()),
        group: ProcessGroup { child, group },
    })
}

/// What came from outside, fit for a sentence: no control characters, not too long.
fn shown(name: &str) -> String {
    const MOST: usize = 128;
    let cut = name.chars().nth(MOST).map(|_| '…');
    let tame = |c: char| if c.is_control() { ' ' } else { c };
    name.chars().take(MOST).map(tame).chain(cut).collect()
}

impl ProcessOutput {
    /// The next piece of either output; none when both have ended. Cancel-safe.
    pub async fn next(&mut self) -> io::Result<Option<Printed>> {
        while self.stdout.is_open() || self.stderr.is_open() {
            let printed = tokio::select! {
                bytes = self.stdout.read(), if self.stdout.is_open() => bytes?.map(Printed::Stdout),
                bytes = self.stderr.read(), if self.stderr.is_open() => bytes?.map(Printed::Stderr),
            };
            if printed.is_some() {
                return Ok(printed);
            }
        }
        Ok(None)
    }

    /// What has been printed until now is the last: what others print later is not read.
    pub fn end_here(&mut self) {
        self.stdout.end_here();
        self.stderr.end_here();
    }
}

impl<T: AsyncRead + AsFd + Unpin> Pipe<T> {
    fn new(from: Option<T>) -> Self {
        Self {
            from,
            buffer: BytesMut::new(),
            left: None,
        }
    }

    fn is_open(&self) -> bool {
        self.from.is_some()
    }

    fn end_here(&mut self) {
        let unread = self.from.as_ref().map(ioctl_fionread);
        self.left = Some(unread.and_then(Result::ok).unwrap_or_default());
    }

    /// Reads once; none at the end. Cancel-safe.
    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(from) = &mut self.from {
            self.buffer.reserve(CHUNK);
            let most = self.left.unwrap_or(u64::MAX);
            let read = from.take(most).read_buf(&mut self.buffer).await?;
            if read > 0 {
                self.left = self.left.map(|left| left.saturating_sub(read as u64));
                return Ok(Some(self.buffer.split().freeze()));
            }
            self.from = None;
        }
        Ok(None)
    }
}

impl ProcessInput {
    /// Writes some of the bytes and takes that off them; waits while the process does not read. An input
    /// that was closed takes all and drops it. Cancel-safe.
    pub async fn write_some(&mut self, bytes: &mut Bytes) {
        let written = match &mut self.0 {
            Some(input) => input.write(bytes).await.unwrap_or(0),
            None => 0,
        };
        if written == 0 {
            self.0 = None;
            bytes.clear();
        } else {
            bytes.advance(written);
        }
    }
}

impl ProcessGroup {
    /// The process, on the agent's host.
    pub fn pid(&self) -> u32 {
        self.group
            .map_or(0, |pid| pid.as_raw_nonzero().get() as u32)
    }

    /// Sends a signal to the whole group. A group that has ended gets none.
    pub fn signal(&self, signal: Signal) {
        if let (Some(group), Some(signal)) =
            (self.group, OsSignal::from_named_raw(signal.number().into()))
        {
            let _ = kill_process_group(group, signal);
        }
    }

    /// Waits for the process itself.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills what the process has left of its group. After that the group's number may be another's:
    /// no signal goes there any more.
    pub fn kill_rest(&mut self) {
        self.signal(Signal::KILL);
        self.group = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
