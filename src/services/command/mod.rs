//! `CommandService`: commands on the host and in containers.

mod running;
mod start;

use std::pin::Pin;

use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::error::invalid;
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
        let (send, receive) = tokio::sync::mpsc::channel(QUEUED);
        let stop = self.agent.stop().clone();
        self.agent.tasks().spawn(async move {
            tokio::select! {
                biased;
                // Dropping what runs kills it, with everything in its group.
                () = stop.cancelled() => {}
                () = send.closed() => {}
                () = running.run(steps, &send) => {}
            }
        });
        let stream = tokio_stream::wrappers::ReceiverStream::new(receive);
        Ok(Response::new(Box::pin(stream)))
    }
}
