//! `LogService`: what containers print.
//!
//! ```text
//!  origin (one log, or many merged) ──▶ filter ──▶ budget ──▶ batches with a cursor
//! ```

mod budget;
mod cursor;
mod fields;
mod filter;
mod follow;
mod level;
mod origin;
mod request;

use futures_util::{Stream, stream};
use std::pin::Pin;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use self::{
    filter::Filter,
    follow::{Events, Wanted},
    origin::Origin,
    request::Whose,
};
use super::error;
use crate::{
    engines::docker::{Engine, follow::MergeRequest, logs::LogRequest},
    proto::{StreamLogsRequest, StreamLogsResponse, log_service_server::LogService},
};

/// Serves `LogService`.
#[derive(Debug, Clone)]
pub struct LogApi {
    engine: Engine,
    draining: CancellationToken,
}

impl LogApi {
    /// The service over this engine.
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            draining: CancellationToken::new(),
        }
    }

    /// Logs end when this is cancelled, each with what says so.
    pub fn ended_by(self, draining: CancellationToken) -> Self {
        Self { draining, ..self }
    }

    async fn open(&self, request: StreamLogsRequest) -> Result<Events, Status> {
        let (stdout, stderr) = request::streams(&request.streams)?;
        let since = request::nanos("since", request.since.as_ref())?;
        let until = request::nanos("until", request.until.as_ref())?;
        let places = cursor::read(&request.cursor)?;
        let wanted = Wanted {
            filter: Filter::parse(request.filter, request.with_levels)?,
            with_fields: request.with_fields,
            bytes_per_second: request.max_bytes_per_second,
        };
        let tail = request.tail_lines.filter(|_| places.is_none());
        let follow = request.follow;
        let opened = match request::whose(&request.container, request.selection)? {
            Whose::One(container) => {
                let request = LogRequest {
                    container,
                    follow,
                    tail,
                    since,
                    until,
                    stdout,
                    stderr,
                };
                Origin::one(&self.engine, request, places).await
            }
            Whose::Many(selection) => {
                let request = MergeRequest {
                    selection,
                    follow,
                    tail,
                    since,
                    until,
                    stdout,
                    stderr,
                    places,
                };
                Origin::many(&self.engine, request).await
            }
        };
        Ok(Events::new(opened.map_err(error::docker)?, wanted))
    }
}

#[tonic::async_trait]
impl LogService for LogApi {
    type StreamLogsStream = Pin<Box<dyn Stream<Item = Result<StreamLogsResponse, Status>> + Send>>;

    async fn stream_logs(
        &self,
        request: Request<StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let events = self.open(request.into_inner()).await?;
        // No task and no channel: the caller's pace is the reader's, and when the caller goes, the
        // connections to the engine go with it.
        let draining = self.draining.clone();
        let events = stream::unfold(Some((events, draining)), |state| async {
            let (mut events, draining) = state?;
            let next = draining.run_until_cancelled(events.next()).await;
            let event = next.unwrap_or_else(|| Some(Err(error::stopping())))?;
            let rest = event.is_ok().then_some((events, draining));
            Some((event, rest))
        });
        Ok(Response::new(Box::pin(events)))
    }
}
