//! `StackService`: compose projects of the engine.

mod convert;
mod page;

use tonic::{Request, Response, Status};

use super::error;
use crate::{
    agent::Agent,
    engines::stacks::{
        listed::{self, Listed, Member},
        names::StackName,
    },
    proto::{
        ListStackContainersRequest, ListStackContainersResponse, ListStacksRequest,
        ListStacksResponse, stack_service_server::StackService,
    },
};

/// Serves `StackService`.
#[derive(Debug, Clone)]
pub struct StackApi {
    agent: Agent,
}

impl StackApi {
    /// The service of this agent.
    pub fn new(agent: Agent) -> Self {
        Self { agent }
    }
}

#[tonic::async_trait]
impl StackService for StackApi {
    async fn list_stacks(
        &self,
        request: Request<ListStacksRequest>,
    ) -> Result<Response<ListStacksResponse>, Status> {
        let request = request.into_inner();
        let stacks = listed::all(self.agent.engine()).await;
        let key = |stack: &Listed| stack.name.to_string();
        let (stacks, next_page_token) = page::cut(
            stacks.map_err(error::docker)?,
            key,
            request.page_size,
            &request.page_token,
        )?;
        Ok(Response::new(ListStacksResponse {
            stacks: stacks.into_iter().map(convert::stack).collect(),
            next_page_token,
        }))
    }

    async fn list_stack_containers(
        &self,
        request: Request<ListStackContainersRequest>,
    ) -> Result<Response<ListStackContainersResponse>, Status> {
        let request = request.into_inner();
        let name = stack_name(&request.stack)?;
        let members = listed::members(self.agent.engine(), &name).await;
        let key = |member: &Member| {
            let id = &member.container.id;
            format!("{}/{:010}/{id}", member.service, member.number)
        };
        let (members, next_page_token) = page::cut(
            members.map_err(error::docker)?,
            key,
            request.page_size,
            &request.page_token,
        )?;
        Ok(Response::new(ListStackContainersResponse {
            containers: members.into_iter().map(convert::member).collect(),
            next_page_token,
        }))
    }
}

fn stack_name(text: &str) -> Result<StackName, Status> {
    text.parse()
        .map_err(|wrong| error::invalid("stack", text, wrong))
}
