//! Commands in containers.
//!
//! ```text
//!  create ──> start (the connection becomes a plain one) ──> running ──> output ends ──> exit code
//!                        │                                      │
//!                        └── never ran: why, as an error         └── dropped: process group killed
//! ```

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bollard::models::{ContainerInspectResponse, ExecConfig, ExecInspectResponse};
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{
    engine::Engine,
    error::{Error, Subject, clean},
    exec_signal::Reach,
    framing::{Decoder, Source},
    names::{ContainerRef, ExecId, NameError},
    signal::Signal,
    socket::Writer,
    stream::{Stream, StreamRequest},
};

/// What to run in a container.
#[derive(Clone)]
pub struct ExecRequest {
    /// Where.
    pub container: ContainerRef,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Names and values, added to the container's.
    pub environment: Vec<(String, String)>,
    /// The working directory. None: the container's.
    pub working_dir: Option<String>,
    /// The user, or user and group. None: the container's.
    pub user: Option<String>,
    /// With a terminal: one raw stream of output.
    pub tty: bool,
}

impl std::fmt::Debug for ExecRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Arguments and variables may be secrets.
        f.debug_struct("ExecRequest")
            .field("container", &self.container)
            .field("program", &self.argv.first())
            .finish_non_exhaustive()
    }
}

/// A running command: its output, its input, and the process itself.
#[derive(Debug)]
pub struct Exec {
    /// What it prints.
    pub output: ExecOutput,
    /// Its standard input.
    pub input: ExecInput,
    /// Its process. Dropping it kills the process group.
    pub process: ExecProcess,
}

/// What a command prints.
#[derive(Debug)]
pub struct ExecOutput {
    stream: Stream,
    decoder: Decoder,
    content: Bytes,
}

/// A piece of what a command prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// From standard output.
    Stdout(Bytes),
    /// From standard error.
    Stderr(Bytes),
}

/// A command's standard input. Dropping it ends the input.
#[derive(Debug)]
pub struct ExecInput {
    writer: Option<Writer>,
}

/// The process of a command.
#[derive(Debug)]
pub struct ExecProcess {
    engine: Engine,
    id: ExecId,
    pid: u32,
    reach: Reach,
    ended: AtomicBool,
}

impl Engine {
    /// Runs a command in a running container.
    pub async fn exec(&self, request: ExecRequest) -> Result<Exec, Error> {
        let container = self.inspect(&request.container).await?;
        let mut reach = Reach::find(&container, &request);
        let id = self.create_exec(&request, reach.marker()).await?;
        // From here on a drop kills, or a caller that goes away now would leave the command behind.
        let mut process = ExecProcess {
            engine: self.clone(),
            id,
            pid: 0,
            reach: reach.clone(),
            ended: AtomicBool::new(false),
        };
        let mut output = ExecOutput {
            stream: self.start_exec(&request, &process.id).await?,
            decoder: Decoder::new(request.tty),
            content: Bytes::new(),
        };
        match process.started().await? {
            Some(pid) => {
                reach.found(pid);
                process.pid = pid;
                process.reach = reach;
            }
            None => {
                process.ended.store(true, Ordering::Release);
                return Err(output.refusal(&request, &container).await);
            }
        }
        let input = ExecInput {
            writer: output.stream.take_writer(),
        };
        Ok(Exec {
            output,
            input,
            process,
        })
    }

    /// Creates an exec, which does not run yet.
    pub(super) async fn create_exec(
        &self,
        request: &ExecRequest,
        marker: Option<&str>,
    ) -> Result<ExecId, Error> {
        let variables = request
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .chain(marker.map(str::to_owned));
        let config = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(request.tty),
            env: Some(variables.collect()),
            cmd: Some(request.argv.clone()),
            user: request.user.clone(),
            working_dir: request.working_dir.clone(),
            ..ExecConfig::default()
        };
        let container = request.container.as_str();
        let created = self
            .call(
                Subject::Container(container),
                self.docker().create_exec(container, config),
            )
            .await?;
        created
            .id
            .parse()
            .map_err(|error: NameError| Error::Protocol(error.to_string()))
    }

    /// Starts an exec; the connection becomes its input and output.
    pub(super) async fn start_exec(
        &self,
        request: &ExecRequest,
        id: &ExecId,
    ) -> Result<Stream, Error> {
        let path = format!("/exec/{id}/start");
        let body = format!("{{\"Detach\":false,\"Tty\":{}}}", request.tty);
        Stream::open(
            self.transport(),
            StreamRequest {
                method: "POST",
                path: &path,
                body: &body,
                upgrade: true,
                subject: Subject::Container(request.container.as_str()),
                deadline: self.deadlines().call,
            },
        )
        .await
    }

    pub(super) async fn inspect_exec(&self, id: &ExecId) -> Result<ExecInspectResponse, Error> {
        self.call(Subject::Engine, self.docker().inspect_exec(id.as_str()))
            .await
    }

    /// Waits until an exec has ended, and returns its exit code.
    pub(super) async fn exec_ended(&self, id: &ExecId) -> Result<i32, Error> {
        let mut pause = Duration::from_millis(1);
        loop {
            let seen = self.inspect_exec(id).await?;
            if seen.running != Some(true)
                && let Some(code) = seen.exit_code
            {
                return Ok(i32::try_from(code).unwrap_or(-1));
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }
}

impl ExecOutput {
    /// The next piece; none at the end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Output>, Error> {
        loop {
            let piece = self.decoder.next(&mut self.content);
            match piece.map_err(|error| Error::Protocol(error.to_string()))? {
                Some(piece) if piece.bytes.is_empty() => {}
                Some(piece) => {
                    return match piece.source {
                        Source::Stdout => Ok(Some(Output::Stdout(piece.bytes))),
                        Source::Stderr => Ok(Some(Output::Stderr(piece.bytes))),
                        Source::Engine => Err(Error::Failed {
                            status: 0,
                            message: clean(&String::from_utf8_lossy(&piece.bytes)),
                        }),
                    };
                }
                None => match self.stream.next().await? {
                    Some(content) => self.content = content,
                    None => {
                        let end = self.decoder.finish();
                        return match end {
                            Ok(()) => Ok(None),
                            Err(_) => Err(self.stream.transport().broke("the output broke off")),
                        };
                    }
                },
            }
        }
    }

    /// Why a command never ran: the engine says it where the output would be.
    async fn refusal(
        &mut self,
        request: &ExecRequest,
        container: &ContainerInspectResponse,
    ) -> Error {
        const MOST: usize = 4096;
        let mut text = Vec::new();
        while let Ok(Some(Output::Stdout(bytes) | Output::Stderr(bytes))) = self.next().await {
            text.extend_from_slice(&bytes);
            if text.len() > MOST {
                break;
            }
        }
        let text = clean(&String::from_utf8_lossy(&text));
        let own = container.config.as_ref();
        let container = request.container.to_string();
        let program = request.argv.first().cloned().unwrap_or_default();
        let has = |what: &str| text.contains(what);
        if has("unable to find user") || has("unable to find group") || has("in passwd file") {
            let user = request
                .user
                .clone()
                .or_else(|| own?.user.clone())
                .unwrap_or_default();
            Error::UserNotFound { user, container }
        } else if has("chdir to cwd") || has("Cwd must be an absolute path") {
            let directory = request
                .working_dir
                .clone()
                .or_else(|| own?.working_dir.clone())
                .unwrap_or_default();
            Error::DirectoryNotFound {
                directory,
                container,
            }
        } else if has("executable file not found") || has("no such file or directory") {
            Error::ProgramNotFound { program, container }
        } else if has("permission denied") || has("is a directory") || has("exec format error") {
            Error::ProgramDenied { program, container }
        } else {
            Error::Failed {
                status: 0,
                message: text,
            }
        }
    }
}

impl ExecInput {
    /// Writes all of it; waits while the command does not read.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let written = writer.write_all(bytes).await;
        written.map_err(|error| Error::InputClosed(error.to_string()))
    }
}

impl ExecProcess {
    /// The process on the engine's host.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal to the command's process group.
    pub async fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.reach.signal(&self.engine, signal).await
    }

    /// Waits until the command has ended, and returns its exit code. To be called when the output
    /// has ended; before, it asks the engine again and again.
    pub async fn wait(&self) -> Result<i32, Error> {
        let code = self.engine.exec_ended(&self.id).await?;
        self.ended.store(true, Ordering::Release);
        Ok(code)
    }

    /// Waits until the engine says that the command runs, with its process, or that it never
    /// ran.
    async fn started(&self) -> Result<Option<u32>, Error> {
        let deadline = Instant::now() + self.engine.deadlines().call;
        let mut pause = Duration::from_millis(1);
        loop {
            let seen = self.engine.inspect_exec(&self.id).await?;
            let pid = seen.pid.and_then(|pid| u32::try_from(pid).ok());
            if let Some(pid) = pid.filter(|pid| *pid != 0) {
                return Ok(Some(pid));
            }
            if seen.running != Some(true) && seen.exit_code.is_some() {
                return Ok(None);
            }
            if Instant::now() > deadline {
                return Err(self
                    .engine
                    .transport()
                    .unreachable("it does not say whether the command has started"));
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

impl Drop for ExecProcess {
    fn drop(&mut self) {
        if self.ended.load(Ordering::Acquire) {
            return;
        }
        let (engine, id, reach) = (self.engine.clone(), self.id.clone(), self.reach.clone());
        self.engine.transport().tasks.spawn(async move {
            if let Err(error) = reach.kill(&engine, &id).await {
                tracing::warn!(%error, "a command in a container could not be killed");
            }
        });
    }
}
