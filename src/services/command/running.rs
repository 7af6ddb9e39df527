//! A command that runs: its output to the caller, signals and the end of its time to it, and its end.
//!
//! ```text
//!   running ──▶ ended ──▶ the rest of its output, however slowly the caller reads ──▶ exited
//!      │           └── others of its group still hold the output: a moment, then they are killed
//!      ├── time over: killed
//!      └── dropped, or an error: killed
//! ```

use std::{collections::VecDeque, future::pending, time::Duration};

use tokio::{
    sync::mpsc::{self, Permit, Receiver, Sender},
    time::{Instant, sleep_until},
};
use tonic::{Status, Streaming};

use super::{
    start::Start,
    steps,
    target::{self, End, Input, Look, Output, Process, Seen, Signalling},
};
use crate::{
    engines::docker::{Engine, Signal},
    proto::{
        CommandExited, CommandStarted, RunCommandRequest, RunCommandResponse,
        run_command_response::Step as Told,
    },
};

/// After the command's end, what others of its group still print is waited for this long in all.
const LATE: Duration = Duration::from_secs(1);
/// After the command's end, so much is read at least: as much as an output can hold that nobody has read.
const LATE_BYTES: usize = 1024 * 1024;
/// So much of a container's command is read ahead of its caller after the end: more than the engine holds.
const AHEAD: usize = 2 * 1024 * 1024;
/// How long a command that was killed may take to end, before the caller is told that it was killed.
const KILLED: Duration = Duration::from_secs(5);
/// Signals that wait for their turn, at most.
const SIGNALS: usize = 4;

/// Where the caller reads. Its bound is what an output costs while the caller does not read.
pub(super) type Telling = Sender<RunCommandResponse>;

/// A command that runs. Dropping it kills everything in its process group.
pub(super) struct Running {
    output: Output,
    input: Input,
    process: Process,
    until: Option<Instant>,
}

impl Running {
    /// Starts the command.
    pub(super) async fn start(engine: &Engine, start: Start) -> Result<Self, Status> {
        let until = start.timeout.map(|timeout| Instant::now() + timeout);
        let (output, input, process) = target::start(engine, start.target).await?;
        Ok(Self {
            output,
            input,
            process,
            until,
        })
    }

    /// Runs it to its end. The last message tells how it ended; with an error it is killed.
    pub(super) async fn run(
        self,
        steps: Streaming<RunCommandRequest>,
        telling: &Telling,
    ) -> Result<(), Status> {
        let (send, signals) = mpsc::channel(SIGNALS);
        let mut handing_on = std::pin::pin!(steps::hand_on(steps, self.input, send));
        let attending = Attending {
            output: self.output,
            output_over: false,
            ahead: VecDeque::new(),
            process: self.process,
            until: self.until,
            timed_out: false,
            signalling: None,
            end: None,
            ending: false,
            patience: None,
            late: 0,
        };
        let mut attending = std::pin::pin!(attending.until_told(signals, telling));
        let mut handed_on = false;
        loop {
            tokio::select! {
                biased;
                ended = &mut attending => return ended,
                failed = &mut handing_on, if !handed_on => {
                    handed_on = true;
                    failed?;
                }
            }
        }
    }
}

/// What is looked after until the command has ended and all of its output is told.
struct Attending {
    output: Output,
    output_over: bool,
    /// Output that was read before there was room for it.
    ahead: VecDeque<Told>,
    process: Process,
    until: Option<Instant>,
    timed_out: bool,
    signalling: Option<Signalling>,
    end: Option<End>,
    /// It seems to be ending, in a container, while its caller does not read.
    ending: bool,
    /// How long the process, and others that print, may still be waited for; none: for ever.
    patience: Option<Duration>,
    /// Bytes read after the command's end.
    late: usize,
}

/// What happens next.
enum Event {
    TimeOver,
    Signal(Signal),
    Signalled,
    Ended(End),
    Ending,
    PatienceOver,
    Printed(Told),
    OutputOver,
    Room,
}

impl Attending {
    async fn until_told(
        mut self,
        mut signals: Receiver<Signal>,
        telling: &Telling,
    ) -> Result<(), Status> {
        let pid = self.process.pid();
        tell(telling, Told::Started(CommandStarted { pid })).await;
        let mut room: Option<Permit<'_, RunCommandResponse>> = None;
        while self.end.is_none() || !self.output_over || !self.ahead.is_empty() {
            if let Some(permit) = room.take_if(|_| !self.ahead.is_empty())
                && let Some(piece) = self.ahead.pop_front()
            {
                permit.send(told(piece));
                continue;
            }
            // The time that the caller takes to read is nobody else's.
            let waiting = self.output_over || room.is_some();
            let reading = !self.output_over && (room.is_some() || self.reads_ahead());
            let began = Instant::now();
            let patience = self.patience.filter(|_| waiting).map(|left| began + left);
            let look = match (self.output_over, &room) {
                (true, _) => Look::Now,
                (false, None) if !self.ending => Look::NowAndThen,
                (false, _) => Look::Never,
            };
            let idle = self.signalling.is_none();
            let event = tokio::select! {
                biased;
                () = at(self.until), if !self.timed_out && idle => Event::TimeOver,
                Some(signal) = signals.recv(), if idle => Event::Signal(signal),
                sent = sent(&mut self.signalling), if !idle => {
                    sent?;
                    Event::Signalled
                }
                seen = self.process.seen(look), if self.end.is_none() => match seen? {
                    Seen::Ended(end) => Event::Ended(end),
                    Seen::Ending => Event::Ending,
                },
                () = at(patience) => Event::PatienceOver,
                permit = telling.reserve(), if room.is_none() => match permit {
                    Ok(permit) => {
                        room = Some(permit);
                        Event::Room
                    }
                    // The caller is gone.
                    Err(_) => return Ok(()),
                },
                printed = self.output.next(), if reading => match printed? {
                    Some(printed) => Event::Printed(printed),
                    None => Event::OutputOver,
                }
            };
            if waiting {
                let spent = began.elapsed();
                self.patience = self.patience.map(|left| left.saturating_sub(spent));
            }
            match event {
                Event::TimeOver => {
                    self.timed_out = true;
                    self.signalling = Some(self.process.signal(Signal::KILL));
                }
                Event::Signal(signal) => self.signalling = Some(self.process.signal(signal)),
                Event::Signalled => {
                    self.signalling = None;
                    if self.timed_out && self.end.is_none() {
                        self.patience = Some(KILLED);
                    }
                }
                Event::Ended(end) => {
                    self.end = Some(end);
                    if self.process.is_on_host() {
                        self.patience = Some(LATE);
                    }
                }
                Event::Ending => self.ending = true,
                Event::PatienceOver => self.hurry(),
                Event::Printed(piece) => {
                    self.count(&piece);
                    self.ahead.push_back(piece);
                }
                Event::OutputOver => self.output_over = true,
                Event::Room => {}
            }
        }
        self.process.kill_rest();
        drop(self.process);
        if let Some(End { exit_code, signal }) = self.end {
            let timed_out = self.timed_out;
            let exited = CommandExited {
                exit_code,
                signal,
                timed_out,
            };
            tell(telling, Told::Exited(exited)).await;
        }
        Ok(())
    }

    /// The engine throws away what it still has of a container's command 2 s after that has ended, so that
    /// it is taken before the caller does.
    fn reads_ahead(&self) -> bool {
        self.ending && self.ahead.iter().map(length).sum::<usize>() < AHEAD
    }

    /// Whoever still prints after the command's end may do so for a while only.
    fn count(&mut self, printed: &Told) {
        if self.end.is_some() {
            self.late += length(printed);
            if self.late >= LATE_BYTES {
                self.patience = self.patience.map(|_| Duration::ZERO);
            }
        }
    }

    /// Waits no longer. What has been printed is still told.
    fn hurry(&mut self) {
        self.patience = None;
        self.end.get_or_insert_with(End::killed);
        self.process.kill_rest();
        self.output.end_here();
    }
}

fn length(told: &Told) -> usize {
    match told {
        Told::Stdout(bytes) | Told::Stderr(bytes) => bytes.len(),
        Told::Started(_) | Told::Exited(_) => 0,
    }
}

async fn tell(telling: &Telling, step: Told) {
    // The caller is gone when this fails, and the command is killed for that.
    let _ = telling.send(told(step)).await;
}

fn told(step: Told) -> RunCommandResponse {
    RunCommandResponse { step: Some(step) }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

async fn sent(signalling: &mut Option<Signalling>) -> Result<(), Status> {
    match signalling {
        Some(signalling) => signalling.await,
        None => pending().await,
    }
}
