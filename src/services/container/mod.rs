//! `ContainerService`: containers of the engine.

pub(super) mod convert;
mod create;
mod page;

use std::time::Duration;

use tonic::{Request, Response, Status};

use super::{error, labels};
use crate::{
    engines::docker::{Engine, Signal, containers::Change, names::ContainerRef},
    proto::{
        CreateContainerRequest, CreateContainerResponse, GetContainerRequest, GetContainerResponse,
        KillContainerRequest, KillContainerResponse, ListContainersRequest, ListContainersResponse,
        RemoveContainerRequest, RemoveContainerResponse, RestartContainerRequest,
        RestartContainerResponse, StartContainerRequest, StartContainerResponse,
        StopContainerRequest, StopContainerResponse, container_service_server::ContainerService,
    },
};

/// The longest grace.
const MAX_GRACE: Duration = Duration::from_secs(24 * 3600);

/// Serves `ContainerService`.
#[derive(Debug, Clone)]
pub struct ContainerApi {
    engine: Engine,
}

impl ContainerApi {
    /// The service over this engine.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl ContainerService for ContainerApi {
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
        let detail = convert::detail(detail, request.include_environment_values);
        Ok(Response::new(GetContainerResponse {
            container: Some(detail),
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
