//! `MetricsService`: how the host and its containers are doing, in figures.

mod convert;
mod exposition;
mod follow;
pub mod prometheus;
mod select;

use std::{pin::Pin, sync::Arc, time::SystemTime};

use futures_util::{Stream, stream};
use tokio::sync::Semaphore;
use tonic::{Code, Request, Response, Status};

use self::{
    follow::{Follow, Next, Sampled},
    select::Selection,
};
use super::{
    agent::interval,
    error::{self, invalid, status},
};
use crate::{
    agent::Agent,
    engines::{
        host::HostSample,
        metrics::{ContainerSample, Wanted},
    },
    proto::{
        ErrorReason, GetContainerMetricsRequest, GetContainerMetricsResponse,
        GetHostMetricsRequest, GetHostMetricsResponse, StreamContainerMetricsRequest,
        StreamContainerMetricsResponse, StreamHostMetricsRequest, StreamHostMetricsResponse,
        metrics_service_server::MetricsService,
    },
};

/// Streams at once, at most: each makes samples of its own.
const STREAMS: usize = 64;
/// Processes that can be asked for.
const PROCESSES: u32 = 100;

/// Serves `MetricsService`.
#[derive(Clone, Debug)]
pub struct MetricsApi {
    agent: Agent,
    streams: Arc<Semaphore>,
}

impl MetricsApi {
    /// The figures of this agent's host.
    pub fn new(agent: Agent) -> Self {
        Self {
            agent,
            streams: Arc::new(Semaphore::new(STREAMS)),
        }
    }

    /// Follows samples until the caller goes or the agent stops.
    fn stream<S, M>(
        &self,
        follow: Follow<S>,
        told: impl Fn(Next<S>) -> M + Send + 'static,
    ) -> Result<Streamed<M>, Status>
    where
        S: Sampled,
        M: Send + 'static,
    {
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            let message = format!("{STREAMS} streams of figures run; end one of them first");
            let metadata = [("limit", "metrics_streams")];
            let reason = ErrorReason::LimitReached;
            status(Code::ResourceExhausted, reason, message, &metadata)
        })?;
        let draining = self.agent.draining().clone();
        let state = Some((follow, told, draining, permit));
        let messages = stream::unfold(state, |state| async {
            let (mut follow, told, draining, permit) = state?;
            let next = draining.run_until_cancelled(follow.next()).await;
            match next.unwrap_or_else(|| Err(error::stopping())) {
                Ok(next) => {
                    let message = told(next);
                    Some((Ok(message), Some((follow, told, draining, permit))))
                }
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Box::pin(messages))
    }
}

type Streamed<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

#[tonic::async_trait]
impl MetricsService for MetricsApi {
    async fn get_host_metrics(
        &self,
        request: Request<GetHostMetricsRequest>,
    ) -> Result<Response<GetHostMetricsResponse>, Status> {
        let request = request.into_inner();
        if request.processes > PROCESSES {
            let given = request.processes.to_string();
            return Err(invalid("processes", &given, "must be 100 at most"));
        }
        let wanted = Wanted {
            temperatures: true,
            processes: request.processes as usize,
            command_lines: request.include_command_lines,
        };
        let metrics = self.agent.metrics();
        metrics.ask(false);
        let (before, sample) = metrics.host_compared(wanted).await;
        let host = Some(convert::host(&sample, Some(&before)));
        Ok(Response::new(GetHostMetricsResponse { host }))
    }

    async fn get_container_metrics(
        &self,
        request: Request<GetContainerMetricsRequest>,
    ) -> Result<Response<GetContainerMetricsResponse>, Status> {
        let selection = Selection::parse(&request.into_inner().containers)?;
        let metrics = self.agent.metrics();
        metrics.ask(true);
        let wanted = |now: &ContainerSample| selection.running(now);
        let compared = metrics.containers_compared(wanted).await;
        let (before, sample) = compared.map_err(error::docker)?;
        let chosen = selection.all(self.agent.engine(), &sample).await?;
        let containers = sample
            .rows
            .iter()
            .filter(|row| chosen.contains(&row.id))
            .map(|row| convert::container(row, &sample, Some(&before)));
        Ok(Response::new(GetContainerMetricsResponse {
            containers: containers.collect(),
            missing: convert::missing(&sample.missing),
        }))
    }

    type StreamHostMetricsStream = Streamed<StreamHostMetricsResponse>;

    async fn stream_host_metrics(
        &self,
        request: Request<StreamHostMetricsRequest>,
    ) -> Result<Response<Self::StreamHostMetricsStream>, Status> {
        let request = request.into_inner();
        let (interval, since) = (interval(request.interval)?, since(request.since)?);
        let follow = Follow::<HostSample>::new(self.agent.metrics().clone(), interval, since);
        let messages = self.stream(follow, |next| StreamHostMetricsResponse {
            host: Some(convert::host(&next.sample, next.before.as_ref())),
            kept: next.kept,
            kept_since: next.kept_since.map(Into::into),
        })?;
        Ok(Response::new(messages))
    }

    type StreamContainerMetricsStream = Streamed<StreamContainerMetricsResponse>;

    async fn stream_container_metrics(
        &self,
        request: Request<StreamContainerMetricsRequest>,
    ) -> Result<Response<Self::StreamContainerMetricsStream>, Status> {
        let request = request.into_inner();
        let (interval, since) = (interval(request.interval)?, since(request.since)?);
        let selection = Selection::parse(&request.containers)?;
        let metrics = self.agent.metrics().clone();
        // A container that came and went is in the kept samples.
        let kept = || match since {
            Some(_) => metrics.history().containers(),
            None => Vec::new(),
        };
        selection.exists(self.agent.engine(), kept).await?;
        let follow = Follow::<ContainerSample>::new(metrics, interval, since);
        let messages = self.stream(follow, move |next| {
            let (sample, before) = (&next.sample, next.before.as_ref());
            let chosen = selection.running(sample);
            let rows = sample.rows.iter().filter(|row| chosen.contains(&row.id));
            let containers = rows.map(|row| convert::container(row, sample, before));
            StreamContainerMetricsResponse {
                time: Some(sample.time.into()),
                containers: containers.collect(),
                missing: convert::missing(&sample.missing),
                kept: next.kept,
                kept_since: next.kept_since.map(Into::into),
            }
        })?;
        Ok(Response::new(messages))
    }
}

fn since(asked: Option<prost_types::Timestamp>) -> Result<Option<SystemTime>, Status> {
    let Some(asked) = asked else {
        return Ok(None);
    };
    let given = || format!("{}.{:09}", asked.seconds, asked.nanos);
    let refused = || {
        invalid(
            "since",
            &given(),
            "must be a time between the years 1 and 9999",
        )
    };
    // What is there is not normalised silently.
    if !(0..1_000_000_000).contains(&asked.nanos)
        || !(-62_135_596_800..=253_402_300_799).contains(&asked.seconds)
    {
        return Err(refused());
    }
    SystemTime::try_from(asked).map(Some).map_err(|_| refused())
}
