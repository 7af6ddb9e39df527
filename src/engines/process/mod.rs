//! Processes on the host that the agent runs on, each in a process group of its own that dies whole.

pub mod user;

use std::{
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use bytes::{Bytes, BytesMut};
use rustix::process::{Pid, Signal as OsSignal, kill_process_group};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};

use super::docker::Signal;
use user::{User, UserError};

/// What is read of an output at once.
const CHUNK: usize = 32 * 1024;
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
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    buffers: (BytesMut, BytesMut),
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
pub fn start(request: &ProcessRequest) -> Result<Process, ProcessError> {
    let user = User::find(request.user.as_deref(), Path::new("/etc/passwd"))?;
    let directory = request
        .working_dir
        .clone()
        .unwrap_or_else(|| user.home.clone());
    if request.working_dir.is_some() && !directory.is_dir() {
        let directory = directory.display().to_string();
        return Err(ProcessError::DirectoryNotFound { directory });
    }
    let directory = if directory.is_dir() {
        directory
    } else {
        PathBuf::from("/")
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
    let program = request.program.clone();
    let mut child = command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ProcessError::ProgramNotFound { program },
        io::ErrorKind::PermissionDenied => ProcessError::Denied { program, source },
        _ => ProcessError::Failed { program, source },
    })?;
    let group = child.id().and_then(|id| Pid::from_raw(id as i32));
    Ok(Process {
        output: ProcessOutput {
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            buffers: Default::default(),
        },
        input: ProcessInput(child.stdin.take()),
        group: ProcessGroup { child, group },
    })
}

impl ProcessOutput {
    /// The next piece of either output; none when both have ended. Cancel-safe.
    pub async fn next(&mut self) -> io::Result<Option<Printed>> {
        loop {
            let (out, err) = &mut self.buffers;
            out.reserve(CHUNK);
            err.reserve(CHUNK);
            let (stdout, stderr) = (self.stdout.as_mut(), self.stderr.as_mut());
            let printed = match (stdout, stderr) {
                (None, None) => return Ok(None),
                (Some(stdout), None) => Printed::Stdout(read(stdout, out).await?),
                (None, Some(stderr)) => Printed::Stderr(read(stderr, err).await?),
                (Some(stdout), Some(stderr)) => tokio::select! {
                    bytes = read(stdout, out) => Printed::Stdout(bytes?),
                    bytes = read(stderr, err) => Printed::Stderr(bytes?),
                },
            };
            match &printed {
                Printed::Stdout(bytes) if bytes.is_empty() => self.stdout = None,
                Printed::Stderr(bytes) if bytes.is_empty() => self.stderr = None,
                _ => return Ok(Some(printed)),
            }
        }
    }
}

async fn read(from: &mut (impl AsyncReadExt + Unpin), buffer: &mut BytesMut) -> io::Result<Bytes> {
    from.read_buf(buffer).await?;
    Ok(buffer.split().freeze())
}

impl ProcessInput {
    /// Writes all of it; waits while the process does not read. An input that was closed takes nothing more.
    pub async fn write(&mut self, bytes: &[u8]) {
        if let Some(input) = &mut self.0
            && input.write_all(bytes).await.is_err()
        {
            self.0 = None;
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
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
