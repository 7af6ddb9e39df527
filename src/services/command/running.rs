//! A command that runs: its output to the caller, the caller's steps to it, and its end.

use std::{os::unix::process::ExitStatusExt, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::mpsc::{self, Sender},
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use super::start::{Start, Wanted};
use crate::{
    engines::{
        docker::{
            Engine, Signal,
            exec::{ExecInput, ExecProcess},
            exec_output::{ExecOutput, Output as ExecPrinted},
        },
        process::{self, Printed, ProcessGroup, ProcessInput, ProcessOutput},
    },
    proto::{
        CommandExited, CommandStarted, RunCommandRequest, RunCommandResponse,
        run_command_request::Step as Asked, run_command_response::Step as Told,
    },
    services::error,
};

/// After the command itself has ended, output that others still hold open is waited for this long.
const DRAIN: Duration = Duration::from_secs(1);
/// Bytes of a message of standard input are written in turn; so many messages may wait.
const STDIN_QUEUED: usize = 4;

type Sending = Sender<Result<RunCommandResponse, Status>>;

/// A command that runs. Dropping it kills everything in its process group.
pub(super) struct Running {
    output: Output,
    input: Input,
    process: Process,
    until: Option<Instant>,
}

enum Output {
    Host(ProcessOutput),
    Container(ExecOutput),
}

enum Input {
    Host(ProcessInput),
    Container(ExecInput),
}

enum Process {
    Host(ProcessGroup),
    Container(ExecProcess),
}

/// How the command ended, without whether its time was over.
struct End {
    exit_code: i32,
    signal: String,
}

impl Running {
    /// Starts the command.
    pub(super) async fn start(engine: &Engine, start: Start) -> Result<Self, Status> {
        let until = start.timeout.map(|timeout| Instant::now() + timeout);
        Ok(match start.target {
            Wanted::Host(request) => {
                let process = process::start(request).await.map_err(error::process)?;
                Self {
                    output: Output::Host(process.output),
                    input: Input::Host(process.input),
                    process: Process::Host(process.group),
                    until,
                }
            }
            Wanted::Container(request) => {
                let exec = engine.exec(request).await.map_err(error::docker)?;
                Self {
                    output: Output::Container(exec.output),
                    input: Input::Container(exec.input),
                    process: Process::Container(exec.process),
                    until,
                }
            }
        })
    }

    /// Runs it to its end. The last message tells how it ended.
    pub(super) async fn run(mut self, steps: Streaming<RunCommandRequest>, send: &Sending) {
        let pid = self.process.pid();
        tell(send, Told::Started(CommandStarted { pid })).await;
        let (stdin, stdin_queue) = mpsc::channel(STDIN_QUEUED);
        let (signals, mut signal_queue) = mpsc::channel(STDIN_QUEUED);
        let mut writing = std::pin::pin!(self.input.write_all(stdin_queue));
        let mut asking = std::pin::pin!(ask(steps, stdin, signals));
        let (mut written, mut asked, mut timed_out) = (false, false, false);
        let ended = {
            let mut ending = std::pin::pin!(self.output.pass_on_and_wait(
                &mut self.process,
                send,
                &mut signal_queue,
                self.until,
                &mut timed_out
            ));
            loop {
                tokio::select! {
                    biased;
                    ended = &mut ending => break ended,
                    failed = &mut asking, if !asked => {
                        asked = true;
                        if let Err(status) = failed {
                            break Err(status);
                        }
                    }
                    () = &mut writing, if !written => written = true,
                }
            }
        };
        match ended {
            Ok(End { exit_code, signal }) => {
                tell(
                    send,
                    Told::Exited(CommandExited {
                        exit_code,
                        signal,
                        timed_out,
                    }),
                )
                .await;
            }
            Err(status) => {
                let _ = send.send(Err(status)).await;
            }
        }
    }
}

impl Input {
    /// Writes what comes; the end of the queue ends the input.
    async fn write_all(mut self, mut queue: mpsc::Receiver<Bytes>) {
        while let Some(mut bytes) = queue.recv().await {
            while !bytes.is_empty() {
                match &mut self {
                    Self::Host(input) => input.write_some(&mut bytes).await,
                    Self::Container(input) => input.write_some(&mut bytes).await,
                }
            }
        }
    }
}

impl Output {
    /// Passes output on, signals the process as asked, kills it when its time is over, and waits for its end.
    async fn pass_on_and_wait(
        &mut self,
        process: &mut Process,
        send: &Sending,
        signals: &mut mpsc::Receiver<Signal>,
        until: Option<Instant>,
        timed_out: &mut bool,
    ) -> Result<End, Status> {
        let (mut over, mut signals_over) = (false, false);
        let mut end = None;
        while !over {
            let time_over = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                signal = signals.recv(), if !signals_over => match signal {
                    Some(signal) => process.signal(signal).await?,
                    None => signals_over = true,
                },
                () = time_over, if !*timed_out => {
                    *timed_out = true;
                    process.signal(Signal::KILL).await?;
                }
                ended = process.host_ended(), if end.is_none() => {
                    end = Some(ended?);
                    // Whatever else of the group is left, and holds the outputs, goes now.
                    process.signal(Signal::KILL).await?;
                    over = !self.drain(send).await?;
                }
                printed = self.next() => match printed? {
                    Some(told) => tell(send, told).await,
                    None => over = true,
                },
            }
        }
        match end {
            Some(end) => Ok(end),
            None => process.wait(signals, until, timed_out).await,
        }
    }

    /// After the end: what is still there, but not for ever. `true` when more may come.
    async fn drain(&mut self, send: &Sending) -> Result<bool, Status> {
        let rest = async {
            while let Some(told) = self.next().await? {
                tell(send, told).await;
            }
            Ok(false)
        };
        timeout(DRAIN, rest).await.unwrap_or(Ok(false))
    }

    async fn next(&mut self) -> Result<Option<Told>, Status> {
        Ok(match self {
            Self::Host(output) => match output.next().await.map_err(error::io)? {
                Some(Printed::Stdout(bytes)) => Some(Told::Stdout(bytes)),
                Some(Printed::Stderr(bytes)) => Some(Told::Stderr(bytes)),
                None => None,
            },
            Self::Container(output) => match output.next().await.map_err(error::docker)? {
                Some(ExecPrinted::Stdout(bytes)) => Some(Told::Stdout(bytes)),
                Some(ExecPrinted::Stderr(bytes)) => Some(Told::Stderr(bytes)),
                None => None,
            },
        })
    }
}

impl Process {
    fn pid(&self) -> u32 {
        match self {
            Self::Host(group) => group.pid(),
            Self::Container(exec) => exec.pid(),
        }
    }

    async fn signal(&self, signal: Signal) -> Result<(), Status> {
        match self {
            Self::Host(group) => {
                group.signal(signal);
                Ok(())
            }
            Self::Container(exec) => exec.signal(signal).await.map_err(error::docker),
        }
    }

    /// Waits for a process of the host. One in a container is waited for by the end of its output.
    async fn host_ended(&mut self) -> Result<End, Status> {
        match self {
            Self::Host(group) => {
                let status = group.wait().await.map_err(error::io)?;
                let signal = status.signal();
                Ok(End {
                    exit_code: status
                        .code()
                        .or(signal.map(|number| 128 + number))
                        .unwrap_or(-1),
                    signal: signal.map(name_of).unwrap_or_default(),
                })
            }
            Self::Container(_) => std::future::pending().await,
        }
    }

    /// The outputs have ended; the process may go on without them.
    async fn wait(
        &mut self,
        signals: &mut mpsc::Receiver<Signal>,
        until: Option<Instant>,
        timed_out: &mut bool,
    ) -> Result<End, Status> {
        loop {
            let time_over = async {
                match until {
                    Some(until) if !*timed_out => sleep_until(until).await,
                    _ => std::future::pending().await,
                }
            };
            let asked = tokio::select! {
                biased;
                ended = self.ended() => return ended,
                () = time_over => {
                    *timed_out = true;
                    Signal::KILL
                }
                Some(signal) = signals.recv() => signal,
            };
            self.signal(asked).await?;
        }
    }

    async fn ended(&mut self) -> Result<End, Status> {
        match self {
            Self::Host(_) => self.host_ended().await,
            Self::Container(exec) => {
                let exit_code = exec.wait().await.map_err(error::docker)?;
                // The engine tells a signal as 128 and its number, as a shell does.
                let signal = match exit_code {
                    129..=192 => name_of(exit_code - 128),
                    _ => String::new(),
                };
                Ok(End { exit_code, signal })
            }
        }
    }
}

fn name_of(number: i32) -> String {
    let signal = u8::try_from(number).ok().and_then(Signal::from_number);
    signal.map(|signal| signal.to_string()).unwrap_or_default()
}

async fn tell(send: &Sending, step: Told) {
    // The caller is gone when this fails, and the command is killed for that.
    let _ = send.send(Ok(RunCommandResponse { step: Some(step) })).await;
}

/// Hands the caller's steps on. The end of the caller's stream ends the input.
async fn ask(
    mut steps: Streaming<RunCommandRequest>,
    stdin: Sender<Bytes>,
    signals: Sender<Signal>,
) -> Result<(), Status> {
    let mut stdin = Some(stdin);
    while let Some(request) = steps.next().await {
        match request?.step {
            Some(Asked::Stdin(bytes)) => {
                if let Some(stdin) = &stdin {
                    // Fails when the command has closed its input.
                    let _ = stdin.send(bytes).await;
                }
            }
            Some(Asked::StdinEnd(_)) => stdin = None,
            Some(Asked::Signal(name)) => {
                let signal = name
                    .parse()
                    .map_err(|error| error::invalid("signal", &name, error))?;
                let _ = signals.send(signal).await;
            }
            Some(Asked::Start(_)) => {
                return Err(error::invalid("start", "", "a command is started once"));
            }
            None => {}
        }
    }
    Ok(())
}
