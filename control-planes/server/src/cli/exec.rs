//! `turbopanel exec`: a command on an agent's host or in one of its containers.
//!
//! ```text
//!  stdin thread ──┐                                     ┌──▶ output thread ──▶ stdout, stderr
//!  SIGINT ────────┴──▶ steps ══ RunCommand ══ answers ──┤
//!                                                       └──▶ exited ──▶ exit code
//! ```

use std::io::{self, IsTerminal as _, stderr, stdin};

use futures_util::{StreamExt as _, stream};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use turbopanel_control_plane::proto::agent::{
    CommandExited, CommandStart, EnvironmentVariable, HostTarget, RunCommandRequest, StdinEnd,
    command_service_client::CommandServiceClient, command_start::Target, run_command_request,
    run_command_response,
};
use turbopanel_tunnel::Channel;

use super::{
    args::Exec,
    connection::{Connection, settle},
    failure::{Failure, reason},
    interrupt::{Interrupts, SIGINT},
    lines::{self, Bytes},
    logs::tell_presence,
    note,
    output::{Output, Reader, Side},
    stdin as input,
};

const TIMED_OUT: u8 = 124;
const NOT_EXECUTABLE: u8 = 126;
const NO_SUCH_PROGRAM: u8 = 127;
const BROKEN_PIPE: u8 = 141;

/// Runs the command; its exit code is ours.
pub(crate) async fn run(connection: &Connection, args: Exec, json: bool) -> Result<u8, Failure> {
    let channel = connection.agent(&args.place.agent)?;
    let interrupts = Interrupts::listen()?;
    let (output, reader) = Output::start()?;
    // SIGINT and its own end are all that this queue holds.
    let (signals, queued) = mpsc::channel(2);
    let (steps, failed) = steps(args, queued)?;
    let call = call(channel.clone(), steps, output, json);
    match attend(channel, call, failed, signals, interrupts, reader).await {
        Ok(exited) => Ok(code_of(&exited)),
        Err(Failure::Refused(status)) => {
            let code = match reason(&status).as_deref() {
                Some("PROGRAM_NOT_FOUND") => NO_SUCH_PROGRAM,
                Some("OS_ACCESS_DENIED") if status.code() == Code::PermissionDenied => {
                    NOT_EXECUTABLE
                }
                _ => return Err(Failure::Refused(status)),
            };
            Failure::Refused(status).tell();
            Ok(code)
        }
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(BROKEN_PIPE),
        Err(failure) => Err(failure),
    }
}

/// Everything that is sent: the start, standard input, and SIGINT. And why standard input could not be read.
fn steps(
    args: Exec,
    signals: mpsc::Receiver<RunCommandRequest>,
) -> Result<(impl Steps, oneshot::Receiver<io::Error>), Failure> {
    let forwards = args.interactive || !stdin().is_terminal();
    let start = CommandStart {
        target: Some(match args.place.container {
            Some(name) => Target::Container(name),
            None => Target::Host(HostTarget {}),
        }),
        argv: args.command,
        environment: args
            .env
            .into_iter()
            .map(|(name, value)| EnvironmentVariable { name, value })
            .collect(),
        working_dir: args.workdir.unwrap_or_default(),
        user: args.user.unwrap_or_default(),
        timeout: args.timeout.and_then(|timeout| timeout.try_into().ok()),
    };
    let (tell, failed) = oneshot::channel();
    let input = if forwards { Some(input::read()?) } else { None };
    let pieces = stream::unfold((input, tell), |(mut input, tell)| async {
        match input.as_mut()?.recv().await? {
            Ok(piece) => Some((piece, (input, tell))),
            Err(error) => {
                let _ = tell.send(error);
                // What was sent is not all: it must not end as if it were.
                std::future::pending().await
            }
        }
    });
    let pieces = pieces.map(|piece| step(run_command_request::Step::Stdin(piece.into())));
    let end = stream::iter([step(run_command_request::Step::StdinEnd(StdinEnd {}))]);
    let rest = stream::select(ReceiverStream::new(signals), pieces.chain(end));
    let steps = stream::iter([step(run_command_request::Step::Start(start))]).chain(rest);
    Ok((steps, failed))
}

trait Steps: stream::Stream<Item = RunCommandRequest> + Send + 'static {}

impl<S: stream::Stream<Item = RunCommandRequest> + Send + 'static> Steps for S {}

fn step(step: run_command_request::Step) -> RunCommandRequest {
    RunCommandRequest { step: Some(step) }
}

/// Runs the call beside the signals; leaving early cancels it, and the agent kills the command.
async fn attend(
    channel: Channel,
    call: impl Future<Output = Result<CommandExited, Failure>>,
    failed: oneshot::Receiver<io::Error>,
    signals: mpsc::Sender<RunCommandRequest>,
    mut interrupts: Interrupts,
    reader: Reader,
) -> Result<CommandExited, Failure> {
    let mut call = Box::pin(call);
    let mut unreadable = Box::pin(unreadable(failed));
    let mut told = Box::pin(tell_presence(channel.presence()));
    let mut interrupted = false;
    let ended = loop {
        tokio::select! {
            biased;
            signal = interrupts.next() => {
                if signal != SIGINT || interrupted {
                    break Failure::Signal(signal);
                }
                interrupted = true;
                let interrupt = step(run_command_request::Step::Signal("SIGINT".to_owned()));
                if signals.try_send(interrupt).is_err() {
                    break Failure::Signal(signal);
                }
                if stderr().is_terminal() {
                    note("\nsent SIGINT; press Ctrl-C again to kill the command");
                }
            }
            () = reader.gone() => break super::output::closed(),
            error = &mut unreadable => break Failure::Input(error),
            never = &mut told => match never {},
            done = &mut call => match done {
                Ok(exited) => return Ok(exited),
                Err(failure) => break failure,
            },
        }
    };
    drop(call);
    if matches!(
        ended,
        Failure::Signal(_) | Failure::Output(_) | Failure::Input(_)
    ) {
        tokio::select! {
            () = settle(channel) => {}
            _ = interrupts.next() => {}
        }
    }
    Err(ended)
}

async fn unreadable(failed: oneshot::Receiver<io::Error>) -> io::Error {
    match failed.await {
        Ok(error) => error,
        Err(_) => std::future::pending().await,
    }
}

async fn call(
    channel: Channel,
    steps: impl Steps,
    mut output: Output,
    json: bool,
) -> Result<CommandExited, Failure> {
    use run_command_response::Step;

    let mut client = CommandServiceClient::new(channel);
    let mut answers = client.run_command(steps).await?.into_inner();
    let mut exited = None;
    let ended = loop {
        let (side, bytes) = match answers.message().await {
            Ok(Some(answer)) => match answer.step {
                Some(Step::Stdout(bytes)) => (Side::Out, bytes),
                Some(Step::Stderr(bytes)) => (Side::Err, bytes),
                Some(Step::Exited(end)) => {
                    exited = Some(end);
                    continue;
                }
                Some(Step::Started(_)) | None => continue,
            },
            Ok(None) => break Ok(()),
            Err(status) => break Err(Failure::from(status)),
        };
        if json {
            let mut line = Vec::with_capacity(bytes.len() + 64);
            lines::append_json(&mut line, &Bytes::new(side, &bytes));
            output.write(Side::Out, line).await?;
        } else {
            output.write(side, bytes.into()).await?;
        }
    };
    if json && let Some(exited) = &exited {
        let mut line = Vec::new();
        let value = serde_json::json!({ "exited": {
            "exit_code": exited.exit_code,
            "signal": exited.signal,
            "timed_out": exited.timed_out,
        }});
        lines::append_json(&mut line, &value);
        output.write(Side::Out, line).await?;
    }
    output.finish().await?;
    // A result that came is the result, however the call ended after it.
    match (exited, ended) {
        (Some(exited), _) => Ok(exited),
        (None, Err(failure)) => Err(failure),
        (None, Ok(())) => Err(Failure::Cut),
    }
}

fn code_of(exited: &CommandExited) -> u8 {
    if exited.timed_out {
        note("the command was killed: its --timeout is over");
        return TIMED_OUT;
    }
    // Codes outside of a byte do not reach a shell as they are; none of them is success.
    u8::try_from(exited.exit_code).unwrap_or(u8::MAX)
}
