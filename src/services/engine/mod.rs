//! `EngineService`: the container engine itself.

mod convert;
mod events;
mod prune;

use std::pin::Pin;

use futures_util::{Stream, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::error;
use crate::{
    engines::docker::Engine,
    proto::{
        GetDiskUsageRequest, GetDiskUsageResponse, GetInfoRequest, GetInfoResponse,
        GetVersionRequest, GetVersionResponse, PruneRequest, PruneResponse, StreamEventsRequest,
        StreamEventsResponse, engine_service_server::EngineService,
    },
};

/// Serves `EngineService`.
#[derive(Debug, Clone)]
pub struct EngineApi {
    engine: Engine,
    draining: CancellationToken,
}

impl EngineApi {
    /// The service over this engine.
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            draining: CancellationToken::new(),
        }
    }

    /// Streams end when this is cancelled, each with what says so.
    pub fn ended_by(self, draining: CancellationToken) -> Self {
        Self { draining, ..self }
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl EngineService for EngineApi {
    type PruneStream = Answers<PruneResponse>;
    type StreamEventsStream = Answers<StreamEventsResponse>;

    async fn get_info(
        &self,
        _: Request<GetInfoRequest>,
    ) -> Result<Response<GetInfoResponse>, Status> {
        let info = self.engine.info().await.map_err(error::docker)?;
        Ok(Response::new(GetInfoResponse {
            info: Some(convert::info(info)),
        }))
    }

    async fn get_version(
        &self,
        _: Request<GetVersionRequest>,
    ) -> Result<Response<GetVersionResponse>, Status> {
        let versions = self.engine.versions().await.map_err(error::docker)?;
        let spoken = self.engine.known().borrow().api_version.clone();
        Ok(Response::new(convert::versions(versions, spoken)))
    }

    async fn get_disk_usage(
        &self,
        _: Request<GetDiskUsageRequest>,
    ) -> Result<Response<GetDiskUsageResponse>, Status> {
        let usage = self.engine.disk_usage().await.map_err(error::docker)?;
        Ok(Response::new(convert::disk_usage(usage)))
    }

    async fn prune(
        &self,
        request: Request<PruneRequest>,
    ) -> Result<Response<Self::PruneStream>, Status> {
        let steps = prune::parse(request.into_inner())?;
        let engine = self.engine.clone();
        let done = stream::unfold(steps.into_iter(), move |mut steps| {
            let engine = engine.clone();
            async move {
                let step = steps.next()?;
                Some(match step.run(&engine).await {
                    Ok(done) => (Ok(done), steps),
                    // What did not begin is not done either.
                    Err(failed) => (Err(failed), Vec::new().into_iter()),
                })
            }
        });
        Ok(Response::new(Box::pin(done)))
    }

    async fn stream_events(
        &self,
        request: Request<StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let request = events::parse(request.into_inner())?;
        let events = self.engine.events(request).await.map_err(error::docker)?;
        let draining = self.draining.clone();
        let told = stream::unfold(Some((events, draining)), |state| async {
            let (mut events, draining) = state?;
            match draining.run_until_cancelled(events.next()).await {
                Some(Some(Ok(happening))) => {
                    Some((Ok(events::response(happening)), Some((events, draining))))
                }
                Some(Some(Err(failed))) => Some((Err(error::docker(failed)), None)),
                Some(None) => None,
                None => Some((Err(error::stopping()), None)),
            }
        });
        Ok(Response::new(Box::pin(told)))
    }
}
