//! `LogService`: what containers print.
//!
//! ```text
//!  origin (one log, or many merged) ──▶ filter ──▶ budget ──▶ batches with a cursor
//! ```

mod budget;
mod cursor;
mod download;
mod fields;
mod filter;
mod follow;
mod level;
mod origin;
mod request;
mod scan;
mod search;

use std::{collections::VecDeque, pin::Pin};

use futures_util::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use self::{
    download::Download,
    filter::Filter,
    follow::{Events, Wanted},
    origin::Origin,
    request::Whose,
};
use super::error;
use crate::{
    engines::docker::{Engine, follow::MergeRequest, logs::LogRequest},
    proto::{
        DownloadLogsRequest, DownloadLogsResponse, SearchLogsRequest, SearchLogsResponse,
        StreamLogsRequest, StreamLogsResponse, log_service_server::LogService,
    },
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

/// A stream that ends when the agent stops, with what says so.
fn until_stopped<T: 'static>(
    draining: CancellationToken,
    events: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>> {
    let state = Some((Box::pin(events), draining));
    Box::pin(stream::unfold(state, |state| async {
        let (mut events, draining) = state?;
        let next = draining.run_until_cancelled(events.next()).await;
        let event = next.unwrap_or_else(|| Some(Err(error::stopping())))?;
        let rest = event.is_ok().then_some((events, draining));
        Some((event, rest))
    }))
}

// No task and no channel: the caller's pace is the reader's, and when the caller goes, the connections to the engine
// go with it.
#[tonic::async_trait]
impl LogService for LogApi {
    type StreamLogsStream = Pin<Box<dyn Stream<Item = Result<StreamLogsResponse, Status>> + Send>>;

    async fn stream_logs(
        &self,
        request: Request<StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let events = self.open(request.into_inner()).await?;
        let events = stream::unfold(events, |mut events| async {
            Some((events.next().await?, events))
        });
        Ok(Response::new(until_stopped(self.draining.clone(), events)))
    }

    type SearchLogsStream = Pin<Box<dyn Stream<Item = Result<SearchLogsResponse, Status>> + Send>>;

    async fn search_logs(
        &self,
        request: Request<SearchLogsRequest>,
    ) -> Result<Response<Self::SearchLogsStream>, Status> {
        let search = request::search(request.into_inner())?;
        let searching = stream::once(search.run(self.engine.clone()));
        let responses = searching.flat_map(|found| {
            let (found, failed) = match found {
                Ok(found) => (found, None),
                Err(failed) => (VecDeque::new(), Some(Err(failed))),
            };
            stream::iter(found.into_iter().map(Ok).chain(failed))
        });
        Ok(Response::new(until_stopped(
            self.draining.clone(),
            responses,
        )))
    }

    type DownloadLogsStream =
        Pin<Box<dyn Stream<Item = Result<DownloadLogsResponse, Status>> + Send>>;

    async fn download_logs(
        &self,
        request: Request<DownloadLogsRequest>,
    ) -> Result<Response<Self::DownloadLogsStream>, Status> {
        let asked = request.into_inner();
        let form = request::form(&asked)?;
        let (since, until) = (asked.since.as_ref(), asked.until.as_ref());
        let range = request::stored(asked.selection, &asked.streams, since, until)?;
        let filter = Filter::parse(asked.filter, false)?;
        let merge = self.engine.merge(range).await.map_err(error::docker)?;
        let pieces = stream::unfold(Download::new(merge, filter, form), |mut download| async {
            Some((download.next().await?, download))
        });
        Ok(Response::new(until_stopped(self.draining.clone(), pieces)))
    }
}
