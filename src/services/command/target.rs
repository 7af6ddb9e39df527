//! A command on the host or in a container, behind one face: what it prints, what it reads, how it ends.

use std::{future::pending, os::unix::process::ExitStatusExt, pin::Pin};

use bytes::Bytes;
use tonic::Status;

use super::start::Wanted;
use crate::{
    engines::{
        docker::{
            Engine, Signal,
            exec::{ExecInput, ExecProcess},
            exec_output::{ExecOutput, Output as ExecPrinted},
        },
        process::{self, Printed, ProcessGroup, ProcessInput, ProcessOutput},
    },
    proto::run_command_response::Step as Told,
    services::error,
};

/// What a command prints.
pub(super) enum Output {
    Host(ProcessOutput),
    Container(ExecOutput),
    Over,
}

/// A command's standard input. Dropping it ends the input.
pub(super) enum Input {
    Host(ProcessInput),
    Container(ExecInput),
}

/// A command's process. Dropping it kills everything in its group.
pub(super) enum Process {
    Host(ProcessGroup),
    Container(ExecProcess),
}

/// A signal on its way.
pub(super) type Signalling = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

/// How closely a command in a container is looked at; the end of one on the host tells itself.
#[derive(Clone, Copy)]
pub(super) enum Look {
    /// Its output is over: it ends about now.
    Now,
    /// Its output waits for the caller.
    NowAndThen,
    /// The end of its output will tell.
    Never,
}

/// What was seen of a command.
pub(super) enum Seen {
    Ended(End),
    /// It seems to have ended, and the engine holds the rest of its output.
    Ending,
}

/// How a command ended, without whether its time was over.
pub(super) struct End {
    pub(super) exit_code: i32,
    pub(super) signal: String,
}

impl End {
    /// Of a command that was killed, when nobody tells how it ended.
    pub(super) fn killed() -> Self {
        Self::by_signal(Signal::KILL.number().into())
    }

    fn by_signal(number: i32) -> Self {
        let signal = u8::try_from(number).ok().and_then(Signal::from_number);
        Self {
            exit_code: 128 + number,
            signal: signal.map(|signal| signal.to_string()).unwrap_or_default(),
        }
    }

    fn by_exit(exit_code: i32) -> Self {
        Self {
            exit_code,
            signal: String::new(),
        }
    }
}

/// Starts a command.
pub(super) async fn start(
    engine: &Engine,
    wanted: Wanted,
) -> Result<(Output, Input, Process), Status> {
    Ok(match wanted {
        Wanted::Host(request) => {
            let process = process::start(request).await.map_err(error::process)?;
            (
                Output::Host(process.output),
                Input::Host(process.input),
                Process::Host(process.group),
            )
        }
        Wanted::Container(request) => {
            let exec = engine.exec(request).await.map_err(error::docker)?;
            (
                Output::Container(exec.output),
                Input::Container(exec.input),
                Process::Container(exec.process),
            )
        }
    })
}

impl Output {
    /// The next piece; none at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Told>, Status> {
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
            Self::Over => None,
        })
    }

    /// What has been printed until now is the last.
    pub(super) fn end_here(&mut self) {
        match self {
            Self::Host(output) => output.end_here(),
            // Only the engine knows what has been printed.
            Self::Container(_) | Self::Over => *self = Self::Over,
        }
    }
}

impl Input {
    /// Writes some of the bytes and takes that off them; waits while the command does not read. An
    /// input that was closed takes all and drops it. Cancel-safe.
    pub(super) async fn write_some(&mut self, bytes: &mut Bytes) {
        match self {
            Self::Host(input) => input.write_some(bytes).await,
            Self::Container(input) => input.write_some(bytes).await,
        }
    }
}

impl Process {
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Host(group) => group.pid(),
            Self::Container(exec) => exec.pid(),
        }
    }

    pub(super) fn is_on_host(&self) -> bool {
        match self {
            Self::Host(_) => true,
            Self::Container(_) => false,
        }
    }

    /// Sends a signal to the process group; one that has ended gets none.
    pub(super) fn signal(&self, signal: Signal) -> Signalling {
        match self {
            Self::Host(group) => {
                group.signal(signal);
                Box::pin(async { Ok(()) })
            }
            Self::Container(exec) => {
                let signalling = exec.signal(signal);
                Box::pin(async { signalling.await.map_err(error::docker) })
            }
        }
    }

    /// Waits for the end of the command itself. Cancel-safe.
    pub(super) async fn seen(&mut self, look: Look) -> Result<Seen, Status> {
        match (self, look) {
            (Self::Host(group), _) => {
                let status = group.wait().await.map_err(error::io)?;
                Ok(Seen::Ended(match (status.code(), status.signal()) {
                    (Some(code), _) => End::by_exit(code),
                    (None, Some(number)) => End::by_signal(number),
                    (None, None) => End::by_exit(-1),
                }))
            }
            (Self::Container(exec), Look::Now) => {
                let code = exec.wait().await.map_err(error::docker)?;
                // The engine tells a signal as 128 and its number, as a shell does.
                Ok(Seen::Ended(match code {
                    129..=192 => End::by_signal(code - 128),
                    code => End::by_exit(code),
                }))
            }
            (Self::Container(exec), Look::NowAndThen) => {
                exec.ending().await;
                Ok(Seen::Ending)
            }
            (Self::Container(_), Look::Never) => pending().await,
        }
    }

    /// Kills what a command that has ended has left of its process group.
    pub(super) fn kill_rest(&mut self) {
        match self {
            Self::Host(group) => group.kill_rest(),
            // As with `docker exec`, what it left behind belongs to the container.
            Self::Container(_) => {}
        }
    }
}
