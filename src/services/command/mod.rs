//! `CommandService`: commands on the host and in containers.

mod running;
mod start;
mod steps;
mod target;

use std::pin::Pin;

use futures_util::stream;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::error::{self, invalid};
use crate::{
    agent::Agent,
    proto::{
        RunCommandRequest, RunCommandResponse, command_service_server::CommandService,
        run_command_request::Step,
    },
};

/// Messages of output that wait for the caller, at most; each holds 32 KiB at most.
const QUEUED: usize = 4;

/// Runs commands for callers.
#[derive(Clone, Debug)]
pub struct CommandApi {
    agent: Agent,
}

impl CommandApi {
    /// Runs commands with this agent's engine and on its host.
    pub fn new(agent: Agent) -> Self {
        Self { agent }
    }
}

#[tonic::async_trait]
impl CommandService for CommandApi {
    type RunCommandStream = Pin<Box<dyn Stream<Item = Result<RunCommandResponse, Status>> + Send>>;

    async fn run_command(
        &self,
        request: Request<Streaming<RunCommandRequest>>,
    ) -> Result<Response<Self::RunCommandStream>, Status> {
        let mut steps = request.into_inner();
        let first = steps.next().await.transpose()?.and_then(|first| first.step);
        let Some(Step::Start(start)) = first else {
            return Err(invalid("start", "", "the first message must be a start"));
        };
        let parsed = start::parse(start)?;
        let running = running::Running::start(self.agent.engine(), parsed).await?;
        let (telling, answers) = mpsc::channel(QUEUED);
        let stop = self.agent.stop().clone();
        // A task of its own: signals and the end of its time reach a command whose caller reads nothing.
        let task = self.agent.tasks().spawn(async move {
            // Whichever comes first, what runs is dropped with it, and killed with everything in its group.
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(error::stopping()),
                () = telling.closed() => Ok(()),
                ended = running.run(steps, &telling) => ended,
            }
        });
        let answers = ReceiverStream::new(answers).map(|answer| Ok(Some(answer)));
        let answers = stream::StreamExt::chain(answers, stream::once(failure(task)));
        Ok(Response::new(Box::pin(
            answers.filter_map(Result::transpose),
        )))
    }
}

/// What ended the task before the command's own end, if anything did.
async fn failure(
    task: JoinHandle<Result<(), Status>>,
) -> Result<Option<RunCommandResponse>, Status> {
    match task.await {
        Ok(ended) => ended.map(|()| None),
        Err(panicked) => Err(error::fault(panicked)),
    }
}
