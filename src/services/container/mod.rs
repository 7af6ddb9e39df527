//! `ContainerService`: containers of the engine.

mod attach;
pub(super) mod convert;
mod copy;
mod create;
mod create_host;
mod look;
mod page;
mod recreate;
mod resources;

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    engine::TOLD,
    error, labels, named,
    operation::{self, OperationEvents},
    unused,
};
use crate::{
    engines::docker::{
        Engine, Signal,
        container_state::Until,
        containers::Change,
        names::{ContainerName, ContainerRef},
    },
    operations::Operations,
    proto::{container_service_server::ContainerService, *},
};

/// The longest JSON of the engine's: it stands in a message beside the labels once more.
const MAX_JSON: usize = 2 << 20;
/// Archives that are unpacked at the same time, at most: each holds a thread.
const COPIES: usize = 16;
/// The longest grace.
const MAX_GRACE: Duration = Duration::from_secs(24 * 3600);

/// Serves `ContainerService`.
#[derive(Debug, Clone)]
pub struct ContainerApi {
    engine: Engine,
    draining: CancellationToken,
    copies: Arc<Semaphore>,
    operations: Operations,
}

impl ContainerApi {
    /// The service over this engine.
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            draining: CancellationToken::new(),
            copies: Arc::new(Semaphore::new(COPIES)),
            operations: Operations::open(None, TaskTracker::new(), CancellationToken::new()),
        }
    }

    /// What it begins is among these.
    pub fn operating(self, operations: Operations) -> Self {
        Self { operations, ..self }
    }

    /// What only waits or streams ends when this is cancelled, with what says so.
    pub fn ended_by(self, draining: CancellationToken) -> Self {
        Self { draining, ..self }
    }
}

#[tonic::async_trait]
impl ContainerService for ContainerApi {
    type RecreateContainerStream = OperationEvents;

    async fn recreate_container(
        &self,
        request: Request<RecreateContainerRequest>,
    ) -> Result<Response<OperationEvents>, Status> {
        let (engine, operations) = (&self.engine, &self.operations);
        let begun = recreate::begin(engine, operations, &self.draining, request.into_inner());
        Ok(operation::events(begun?))
    }

    async fn list_containers(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Result<Response<ListContainersResponse>, Status> {
        let request = request.into_inner();
        labels::check(&request.labels)?;
        let size = page::size(request.page_size)?;
        let after = page::Position::read(&request.page_token)?;
        let mut containers = self
            .engine
            .containers(request.all, &request.labels)
            .await
            .map_err(error::docker)?;
        containers.retain(|container| container.name.contains(&request.name_contains));
        let (containers, next_page_token) = page::cut(containers, after.as_ref(), size);
        Ok(Response::new(ListContainersResponse {
            containers: containers.into_iter().map(convert::container).collect(),
            next_page_token,
        }))
    }

    async fn get_container(
        &self,
        request: Request<GetContainerRequest>,
    ) -> Result<Response<GetContainerResponse>, Status> {
        let request = request.into_inner();
        let container = container_ref(&request.container)?;
        let detail = self.engine.container(&container).await;
        let detail = detail.map_err(error::docker)?;
        let values = request.include_environment_values;
        let detail = convert::detail(detail, values);
        let engine_json = if request.include_engine_json {
            let json = self.engine.container_json(&container, values).await;
            let json = json.map_err(error::docker)?;
            Some(json)
                .filter(|json| json.len() <= MAX_JSON)
                .unwrap_or_default()
        } else {
            Vec::new()
        };
        Ok(Response::new(GetContainerResponse {
            container: Some(detail),
            engine_json: engine_json.into(),
        }))
    }

    async fn create_container(
        &self,
        request: Request<CreateContainerRequest>,
    ) -> Result<Response<CreateContainerResponse>, Status> {
        let new = create::parse(request.into_inner())?;
        let (id, warnings) = self.engine.create(new).await.map_err(error::docker)?;
        Ok(Response::new(CreateContainerResponse { id, warnings }))
    }

    async fn start_container(
        &self,
        request: Request<StartContainerRequest>,
    ) -> Result<Response<StartContainerResponse>, Status> {
        let container = container_ref(&request.into_inner().container)?;
        let change = self.engine.start(&container).await;
        Ok(Response::new(StartContainerResponse {
            already_running: change.map_err(error::docker)? == Change::Already,
        }))
    }

    async fn stop_container(
        &self,
        request: Request<StopContainerRequest>,
    ) -> Result<Response<StopContainerResponse>, Status> {
        let request = request.into_inner();
        let container = container_ref(&request.container)?;
        let change = self.engine.stop(&container, grace(request.grace)?).await;
        Ok(Response::new(StopContainerResponse {
            already_stopped: change.map_err(error::docker)? == Change::Already,
        }))
    }

    async fn restart_container(
        &self,
        request: Request<RestartContainerRequest>,
    ) -> Result<Response<RestartContainerResponse>, Status> {
        let request = request.into_inner();
        let container = container_ref(&request.container)?;
        let grace = grace(request.grace)?;
        let restarted = self.engine.restart(&container, grace).await;
        restarted.map_err(error::docker)?;
        Ok(Response::new(RestartContainerResponse {}))
    }

    async fn kill_container(
        &self,
        request: Request<KillContainerRequest>,
    ) -> Result<Response<KillContainerResponse>, Status> {
        let request = request.into_inner();
        let container = container_ref(&request.container)?;
        let signal = match request.signal.as_str() {
            "" => Signal::KILL,
            text => text
                .parse()
                .map_err(|wrong| error::invalid("signal", text, wrong))?,
        };
        let killed = self.engine.kill(&container, signal).await;
        killed.map_err(error::docker)?;
        Ok(Response::new(KillContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<RemoveContainerRequest>,
    ) -> Result<Response<RemoveContainerResponse>, Status> {
        let request = request.into_inner();
        let container = container_ref(&request.container)?;
        let removed = self
            .engine
            .remove(&container, request.force, request.remove_volumes)
            .await;
        removed.map_err(error::docker)?;
        Ok(Response::new(RemoveContainerResponse {}))
    }

    async fn pause_container(
        &self,
        request: Request<PauseContainerRequest>,
    ) -> Result<Response<PauseContainerResponse>, Status> {
        let container = container_ref(&request.into_inner().container)?;
        let change = self.engine.pause(&container).await;
        Ok(Response::new(PauseContainerResponse {
            already_paused: change.map_err(error::docker)? == Change::Already,
        }))
    }

    async fn unpause_container(
        &self,
        request: Request<UnpauseContainerRequest>,
    ) -> Result<Response<UnpauseContainerResponse>, Status> {
        let container = container_ref(&request.into_inner().container)?;
        let change = self.engine.unpause(&container).await;
        Ok(Response::new(UnpauseContainerResponse {
            already_running: change.map_err(error::docker)? == Change::Already,
        }))
    }

    async fn rename_container(
        &self,
        request: Request<RenameContainerRequest>,
    ) -> Result<Response<RenameContainerResponse>, Status> {
        let request = request.into_inner();
        let container = container_ref(&request.container)?;
        let name: ContainerName = named("name", &request.name)?;
        let renamed = self.engine.rename(&container, &name).await;
        renamed.map_err(error::docker)?;
        Ok(Response::new(RenameContainerResponse {}))
    }

    async fn update_container(
        &self,
        request: Request<UpdateContainerRequest>,
    ) -> Result<Response<UpdateContainerResponse>, Status> {
        let request = request.into_inner();
        let container = container_ref(&request.container)?;
        let wanted = resources::parse(request.resources.unwrap_or_default())?;
        let restart = request
            .restart_policy
            .map(|policy| create::restart(&policy));
        let restart = restart.transpose()?;
        if wanted.memory_swappiness.is_some() {
            let mend = "it is chosen at creation only";
            return Err(error::invalid("memory_swappiness", "", mend));
        }
        let updated = self.engine.update(&container, &wanted, restart).await;
        Ok(Response::new(UpdateContainerResponse {
            warnings: updated.map_err(error::docker)?,
        }))
    }

    async fn wait_container(
        &self,
        request: Request<WaitContainerRequest>,
    ) -> Result<Response<WaitContainerResponse>, Status> {
        let request = request.into_inner();
        let container = container_ref(&request.container)?;
        let until = match WaitCondition::try_from(request.condition) {
            Ok(WaitCondition::Unspecified | WaitCondition::NotRunning) => Until::NotRunning,
            Ok(WaitCondition::NextExit) => Until::NextExit,
            Ok(WaitCondition::Removed) => Until::Removed,
            Err(_) => {
                let given = request.condition.to_string();
                return Err(error::invalid("condition", &given, "it is not known here"));
            }
        };
        let waited = self.engine.wait(&container, until);
        // Only this call waits: what it waits for goes on when the agent stops.
        let waited = self.draining.run_until_cancelled(waited).await;
        let waited = waited.ok_or_else(error::stopping)?;
        let (exit_code, error) = waited.map_err(error::docker)?;
        Ok(Response::new(WaitContainerResponse { exit_code, error }))
    }

    async fn top_container(
        &self,
        request: Request<TopContainerRequest>,
    ) -> Result<Response<TopContainerResponse>, Status> {
        let request = request.into_inner();
        let container = container_ref(&request.container)?;
        let columns = request
            .columns
            .iter()
            .map(|column| named("columns", column));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let seen = self.engine.processes(&container, &columns).await;
        Ok(Response::new(look::processes(seen.map_err(error::docker)?)))
    }

    type ListContainerChangesStream =
        Pin<Box<dyn Stream<Item = Result<ListContainerChangesResponse, Status>> + Send>>;

    async fn list_container_changes(
        &self,
        request: Request<ListContainerChangesRequest>,
    ) -> Result<Response<Self::ListContainerChangesStream>, Status> {
        let container = container_ref(&request.into_inner().container)?;
        let changes = self.engine.file_changes(&container).await;
        let changes = look::changes(changes.map_err(error::docker)?);
        Ok(Response::new(Box::pin(stream::iter(changes.map(Ok)))))
    }

    async fn prune_containers(
        &self,
        request: Request<PruneContainersRequest>,
    ) -> Result<Response<PruneContainersResponse>, Status> {
        let filter = unused::filter(request.into_inner().filter, true)?;
        let pruned = self.engine.prune_containers(&filter).await;
        let pruned = pruned.map_err(error::docker)?;
        let removed_count = pruned.removed.len().try_into().unwrap_or(u32::MAX);
        let mut containers = pruned.removed;
        containers.truncate(TOLD);
        Ok(Response::new(PruneContainersResponse {
            containers,
            removed_count,
            reclaimed_bytes: pruned.bytes,
        }))
    }

    async fn stat_container_path(
        &self,
        request: Request<StatContainerPathRequest>,
    ) -> Result<Response<StatContainerPathResponse>, Status> {
        let request = request.into_inner();
        let container = container_ref(&request.container)?;
        let path = look::path(request.path)?;
        let stat = self.engine.file_stat(&container, &path).await;
        Ok(Response::new(look::stat(stat.map_err(error::docker)?)))
    }

    type CopyFromContainerStream = copy::Out;

    async fn copy_from_container(
        &self,
        request: Request<CopyFromContainerRequest>,
    ) -> Result<Response<Self::CopyFromContainerStream>, Status> {
        let out = copy::out(&self.engine, request.into_inner(), self.draining.clone());
        Ok(Response::new(out.await?))
    }

    async fn copy_to_container(
        &self,
        request: Request<Streaming<CopyToContainerRequest>>,
    ) -> Result<Response<CopyToContainerResponse>, Status> {
        let _permit = self.copies.try_acquire().map_err(|_| {
            let mend = "the agent unpacks 16 archives already: try again when one is done";
            let limit = [("limit", "copies")];
            error::status(
                Code::ResourceExhausted,
                ErrorReason::LimitReached,
                mend,
                &limit,
            )
        })?;
        let unpacked = copy::into(&self.engine, request.into_inner()).await?;
        Ok(Response::new(unpacked))
    }

    type AttachContainerStream = attach::Told;

    async fn attach_container(
        &self,
        request: Request<Streaming<AttachContainerRequest>>,
    ) -> Result<Response<Self::AttachContainerStream>, Status> {
        let (steps, draining) = (request.into_inner(), self.draining.clone());
        let told = attach::attach(&self.engine, steps, draining).await?;
        Ok(Response::new(told))
    }
}

/// The field `container` of a request.
pub(super) fn container_ref(text: &str) -> Result<ContainerRef, Status> {
    text.parse()
        .map_err(|wrong| error::invalid("container", text, wrong))
}

fn grace(grace: Option<prost_types::Duration>) -> Result<Option<Duration>, Status> {
    let Some(grace) = grace else {
        return Ok(None);
    };
    let given = format!("{}.{:09} s", grace.seconds, grace.nanos);
    Duration::try_from(grace)
        .ok()
        .filter(|grace| *grace <= MAX_GRACE)
        .map(Some)
        .ok_or_else(|| error::invalid("grace", &given, "give 0 s to 24 h"))
}
