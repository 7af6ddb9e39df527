//! A caller of `RunCommand`.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Status, Streaming};
use tonic_types::StatusExt;
use turbopanel_agent::proto::{
    CommandExited, CommandStart, HostTarget, RunCommandRequest, RunCommandResponse, StdinEnd,
    command_service_client::CommandServiceClient, command_start::Target, run_command_request::Step,
    run_command_response::Step as Told,
};

use crate::agent_support::{Agent, Connected};

/// On the host.
pub fn host(argv: &[&str]) -> CommandStart {
    CommandStart {
        target: Some(Target::Host(HostTarget {})),
        argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
        ..CommandStart::default()
    }
}

/// A request with this step.
pub fn step(step: Step) -> RunCommandRequest {
    RunCommandRequest { step: Some(step) }
}

/// A command that runs, as its caller sees it.
pub struct Running {
    pub send: mpsc::Sender<RunCommandRequest>,
    pub answers: Streaming<RunCommandResponse>,
}

impl Running {
    pub async fn start(agent: &Agent, start: CommandStart) -> Result<Self, Status> {
        Self::start_within(agent, start, None).await
    }

    pub async fn start_within(
        agent: &Agent,
        start: CommandStart,
        deadline: Option<Duration>,
    ) -> Result<Self, Status> {
        Self::start_on(agent.connect(None).await, start, deadline).await
    }

    pub async fn start_on(
        channel: Connected,
        start: CommandStart,
        deadline: Option<Duration>,
    ) -> Result<Self, Status> {
        let (send, receive) = mpsc::channel(4);
        send.send(step(Step::Start(start))).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(receive));
        if let Some(deadline) = deadline {
            request.set_timeout(deadline);
        }
        let mut client = CommandServiceClient::new(channel);
        let answers = client.run_command(request).await?.into_inner();
        Ok(Self { send, answers })
    }

    /// Its process, which is told first.
    pub async fn pid(&mut self) -> u32 {
        match self.answers.next().await.unwrap().unwrap().step.unwrap() {
            Told::Started(started) => started.pid,
            other => panic!("{other:?}"),
        }
    }

    pub async fn ask(&self, asked: Step) {
        self.send.send(step(asked)).await.unwrap();
    }

    /// Waits for its end: standard output, standard error, and how it ended.
    pub async fn end(mut self) -> Result<(Vec<u8>, Vec<u8>, CommandExited), Status> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(answer) = self.answers.next().await {
            match answer?.step.unwrap() {
                Told::Started(_) => {}
                Told::Stdout(bytes) => stdout.extend_from_slice(&bytes),
                Told::Stderr(bytes) => stderr.extend_from_slice(&bytes),
                Told::Exited(exited) => {
                    assert!(self.answers.next().await.is_none(), "more after the end");
                    return Ok((stdout, stderr, exited));
                }
            }
        }
        panic!("no end was told");
    }
}

/// Runs it without input.
pub async fn run(
    agent: &Agent,
    start: CommandStart,
) -> Result<(String, String, CommandExited), Status> {
    let running = Running::start(agent, start).await?;
    // A command that ends at once takes no more.
    let _ = running.send.send(step(Step::StdinEnd(StdinEnd {}))).await;
    let (stdout, stderr, exited) = running.end().await?;
    Ok((
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
        exited,
    ))
}

/// Processes in this process group.
pub fn members(group: u32) -> usize {
    let of = |stat: String| {
        let rest = stat.rsplit(')').next().unwrap_or_default().to_owned();
        let mut fields = rest.split_whitespace();
        let state = fields.next()?.to_owned();
        let group: u32 = fields.nth(1)?.parse().ok()?;
        (state != "Z").then_some(group)
    };
    let stats = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter_map(of).filter(|found| *found == group).count()
}

/// The reason that a program sees in an error.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}
