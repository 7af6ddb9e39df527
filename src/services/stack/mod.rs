//! `StackService`: compose projects of the engine.

mod convert;
mod page;
mod parse;
mod work;

use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    error,
    operation::{OperationEvents, events},
};
use crate::{
    engines::stacks::{
        Stacks, config,
        listed::{Listed, Member},
        names::StackName,
    },
    operations::{Begin, Operations},
    proto::{
        DownStackRequest, GetStackConfigRequest, GetStackConfigResponse,
        ListStackContainersRequest, ListStackContainersResponse, ListStacksRequest,
        ListStacksResponse, PullStackRequest, RestartStackRequest, UpStackRequest,
        ValidateStackRequest, ValidateStackResponse, stack_service_server::StackService,
    },
};
use work::{Needs, Work};

/// Serves `StackService`.
#[derive(Debug, Clone)]
pub struct StackApi {
    stacks: Stacks,
    operations: Operations,
}

impl StackApi {
    /// The service over these stacks; what changes them is among these operations.
    pub fn new(stacks: Stacks, operations: Operations) -> Self {
        Self { stacks, operations }
    }

    /// Begins what the request asks for. `asked` is the request without its `request_id`.
    fn begin(
        &self,
        kind: &'static str,
        request_id: String,
        asked: &impl Message,
        work: Work,
    ) -> Result<Response<OperationEvents>, Status> {
        let begin = Begin {
            kind,
            target: work.stack.to_string(),
            request_id,
            asked: asked.encode_to_vec(),
        };
        let begun = self.operations.begin(begin, |reporter| work.run(reporter));
        begun.map(events)
    }

    fn work(&self, stack: StackName, command: Vec<String>, files: Needs) -> Work {
        Work {
            stacks: self.stacks.clone(),
            stack,
            command,
            files,
            patience: None,
        }
    }
}

#[tonic::async_trait]
impl StackService for StackApi {
    async fn list_stacks(
        &self,
        request: Request<ListStacksRequest>,
    ) -> Result<Response<ListStacksResponse>, Status> {
        let request = request.into_inner();
        type Known = (StackName, Option<Listed>, bool);
        let stacks: Vec<Known> = self.stacks.all().await.map_err(error::docker)?;
        let key = |(name, ..): &Known| name.to_string();
        let (stacks, next_page_token) =
            page::cut(stacks, key, request.page_size, &request.page_token)?;
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
        let name = parse::stack(&request.stack)?;
        let members = self.stacks.members(&name).await;
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

    async fn validate_stack(
        &self,
        request: Request<ValidateStackRequest>,
    ) -> Result<Response<ValidateStackResponse>, Status> {
        let request = request.into_inner();
        let stack = parse::stack(&request.stack)?;
        let files = parse::files(request.files)?;
        let failed = |wrong| error::stack(&stack, wrong);
        let project = self.stacks.project(&stack, files).await.map_err(failed)?;
        let never = CancellationToken::new();
        let checked = self.stacks.check(&stack, &project, true, &never).await;
        let checked = checked.map_err(failed)?;
        Ok(Response::new(ValidateStackResponse {
            services: config::services(&checked.config),
            warnings: checked.warnings,
        }))
    }

    async fn get_stack_config(
        &self,
        request: Request<GetStackConfigRequest>,
    ) -> Result<Response<GetStackConfigResponse>, Status> {
        let request = request.into_inner();
        let stack = parse::stack(&request.stack)?;
        let files = parse::files(request.files)?;
        let failed = |wrong| error::stack(&stack, wrong);
        let project = self.stacks.project(&stack, files).await.map_err(failed)?;
        let never = CancellationToken::new();
        let checked = self.stacks.check(&stack, &project, true, &never).await;
        let mut checked = checked.map_err(failed)?;
        if !request.include_values {
            // With variables in the place of their values.
            let plain = self.stacks.check(&stack, &project, false, &never).await;
            checked.config = plain.map_err(failed)?.config;
            config::hide(&mut checked.config);
        }
        Ok(Response::new(GetStackConfigResponse {
            config: self.stacks.shown(&stack, &project, &checked.config),
            warnings: checked.warnings,
        }))
    }

    type UpStackStream = OperationEvents;

    async fn up_stack(
        &self,
        request: Request<UpStackRequest>,
    ) -> Result<Response<OperationEvents>, Status> {
        let mut request = request.into_inner();
        let request_id = std::mem::take(&mut request.request_id);
        let (stack, command) = (parse::stack(&request.stack)?, parse::up(&request)?);
        let needs = Needs::Files {
            sent: parse::files(request.files.clone())?,
            keep: true,
        };
        let patience = parse::patience(&request)?;
        let work = Work {
            patience,
            ..self.work(stack, command, needs)
        };
        self.begin("stack.up", request_id, &request, work)
    }

    type DownStackStream = OperationEvents;

    async fn down_stack(
        &self,
        request: Request<DownStackRequest>,
    ) -> Result<Response<OperationEvents>, Status> {
        let mut request = request.into_inner();
        let request_id = std::mem::take(&mut request.request_id);
        let (stack, command) = (parse::stack(&request.stack)?, parse::down(&request)?);
        let needs = Needs::Nothing {
            containers: false,
            forget: request.forget_files,
        };
        let work = self.work(stack, command, needs);
        self.begin("stack.down", request_id, &request, work)
    }

    type RestartStackStream = OperationEvents;

    async fn restart_stack(
        &self,
        request: Request<RestartStackRequest>,
    ) -> Result<Response<OperationEvents>, Status> {
        let mut request = request.into_inner();
        let request_id = std::mem::take(&mut request.request_id);
        let (stack, command) = (parse::stack(&request.stack)?, parse::restart(&request)?);
        let needs = Needs::Nothing {
            containers: true,
            forget: false,
        };
        let work = self.work(stack, command, needs);
        self.begin("stack.restart", request_id, &request, work)
    }

    type PullStackStream = OperationEvents;

    async fn pull_stack(
        &self,
        request: Request<PullStackRequest>,
    ) -> Result<Response<OperationEvents>, Status> {
        let mut request = request.into_inner();
        let request_id = std::mem::take(&mut request.request_id);
        let (stack, command) = (parse::stack(&request.stack)?, parse::pull(&request)?);
        let needs = Needs::Files {
            sent: parse::files(request.files.clone())?,
            keep: false,
        };
        let work = self.work(stack, command, needs);
        self.begin("stack.pull", request_id, &request, work)
    }
}
