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

use bollard::models::{ExecConfig, ExecInspectResponse};
use bytes::{Buf, Bytes};
use tokio::time::{Instant, sleep, timeout};

use super::{
    engine::Engine,
    error::{Error, Subject},
    exec_output::ExecOutput,
    exec_signal::Reach,
    names::{ContainerRef, ExecId, NameError},
    signal::Signal,
    socket::Writer,
    stream::{Stream, StreamRequest},
};

/// The longest time between two looks at a command that prints no more.
const LOOK: Duration = Duration::from_secs(1);
/// So long after its end, at most, the engine calls a command running: it waits for its output to be read.
const ENDING: Duration = Duration::from_secs(3);

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
    /// It is seen from here.
    visible: bool,
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
            visible: false,
            reach: reach.clone(),
            ended: AtomicBool::new(false),
        };
        let stream = self.start_exec(&request, &process.id).await?;
        let mut output = ExecOutput::new(self, stream, request.tty);
        match process.started().await? {
            Some(pid) => {
                reach.found(pid);
                process.pid = pid;
                process.visible = reach.sees();
                process.reach = reach;
            }
            None => {
                process.ended.store(true, Ordering::Release);
                return Err(output.refusal(&request, &container).await);
            }
        }
        let input = ExecInput::new(output.take_writer());
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
            if let Some(code) = exit_code(&self.inspect_exec(id).await?) {
                return Ok(code);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOK);
        }
    }
}

/// The exit code of an exec that has ended.
pub(super) fn exit_code(seen: &ExecInspectResponse) -> Option<i32> {
    let code = seen.exit_code.filter(|_| seen.running != Some(true))?;
    Some(i32::try_from(code).unwrap_or(-1))
}

/// The process of an exec that has got so far.
pub(super) fn pid(seen: &ExecInspectResponse) -> Option<u32> {
    let pid = seen.pid.and_then(|pid| u32::try_from(pid).ok());
    pid.filter(|pid| *pid != 0)
}

impl ExecInput {
    pub(super) fn new(writer: Option<Writer>) -> Self {
        Self { writer }
    }

    /// Writes some of the bytes and takes that off them; waits while the command does not read. An
    /// input that was closed takes all and drops it. Cancel-safe.
    pub async fn write_some(&mut self, bytes: &mut Bytes) {
        let written = match &mut self.writer {
            Some(writer) => writer.write(bytes).await.unwrap_or(0),
            None => 0,
        };
        if written == 0 {
            self.writer = None;
            bytes.clear();
        } else {
            bytes.advance(written);
        }
    }
}

impl ExecProcess {
    /// The process on the engine's host.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal to the command's process group. A command that has ended gets none.
    pub fn signal(&self, signal: Signal) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let (engine, id, reach) = (self.engine.clone(), self.id.clone(), self.reach.clone());
        let visible = self.visible;
        async move {
            let Err(error) = reach.signal(&engine, signal).await else {
                return Ok(());
            };
            if visible && !reach.sees() {
                return Ok(());
            }
            // The engine takes a while to say that a command has ended.
            match timeout(ENDING, engine.exec_ended(&id)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(error),
            }
        }
    }

    /// Waits until the command has ended, and returns its exit code. To be called when the output
    /// has ended; before, it asks the engine again and again.
    pub async fn wait(&self) -> Result<i32, Error> {
        let code = self.engine.exec_ended(&self.id).await?;
        self.ended.store(true, Ordering::Release);
        Ok(code)
    }

    /// Waits until the command seems to have ended, while its output is not read. Where its process is seen
    /// that is when it is gone. Elsewhere the engine is asked: while it ends a command it answers nothing
    /// about it, and waits up to 2 s for its output to be read.
    pub async fn ending(&self) {
        const HELD: Duration = Duration::from_millis(250);
        if self.visible {
            loop {
                sleep(HELD).await;
                if !self.reach.sees() {
                    return;
                }
            }
        }
        loop {
            sleep(LOOK / 2).await;
            match timeout(HELD, self.engine.inspect_exec(&self.id)).await {
                Ok(Ok(seen)) if exit_code(&seen).is_none() => {}
                // Also an engine that fails is soon noticed by what it no longer prints.
                Ok(Ok(_) | Err(_)) | Err(_) => return,
            }
        }
    }

    /// Waits until the engine says that the command runs, with its process, or that it never
    /// ran.
    async fn started(&self) -> Result<Option<u32>, Error> {
        let deadline = Instant::now() + self.engine.deadlines().call;
        let mut pause = Duration::from_millis(1);
        loop {
            let seen = self.engine.inspect_exec(&self.id).await?;
            if let Some(pid) = pid(&seen) {
                return Ok(Some(pid));
            }
            if exit_code(&seen).is_some() {
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
        // A process that is seen from here is killed without the engine, which may hang.
        if self.reach.signal_here(Signal::KILL) {
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
