//! `LogService`: what containers print.

use futures_util::{Stream, stream};
use std::pin::Pin;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{container::container_ref, error, time::nanos};
use crate::{
    engines::docker::{
        Engine,
        lines::Line,
        logs::{self, LogRequest, Logs},
    },
    proto::{
        LogBatch, LogEnd, LogLine, OutputStream, StreamLogsRequest, StreamLogsResponse, log_end,
        log_service_server::LogService, stream_logs_response::Event,
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
}

#[tonic::async_trait]
impl LogService for LogApi {
    type StreamLogsStream = Pin<Box<dyn Stream<Item = Result<StreamLogsResponse, Status>> + Send>>;

    async fn stream_logs(
        &self,
        request: Request<StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let request = parse(request.into_inner())?;
        let logs = self.engine.logs(request).await.map_err(error::docker)?;
        // No task and no channel: the caller's pace is the reader's, and when the caller goes, the
        // connection to the engine goes with it.
        let draining = self.draining.clone();
        let events = stream::unfold(Some((logs, draining)), |state| async {
            let (logs, draining) = state?;
            let next = draining.run_until_cancelled(next(logs)).await;
            let (event, logs) = next.unwrap_or_else(|| (Err(error::stopping()), None));
            Some((event, logs.map(|logs| (logs, draining))))
        });
        Ok(Response::new(Box::pin(events)))
    }
}

async fn next(mut logs: Logs) -> (Result<StreamLogsResponse, Status>, Option<Logs>) {
    let mut lines = Vec::new();
    let (event, logs) = match logs.next(&mut lines).await {
        Ok(None) => {
            let lines = lines.into_iter().map(line).collect();
            (Event::Batch(LogBatch { lines }), Some(logs))
        }
        Ok(Some(end)) => {
            let reason = match end {
                logs::LogEnd::Complete => log_end::Reason::Complete,
                logs::LogEnd::ContainerEnded => log_end::Reason::ContainerEnded,
            };
            let reason = reason.into();
            (Event::End(LogEnd { reason }), None)
        }
        Err(failed) => return (Err(error::docker(failed)), None),
    };
    let response = StreamLogsResponse { event: Some(event) };
    (Ok(response), logs)
}

fn line(line: Line) -> LogLine {
    let stream = if line.stderr {
        OutputStream::Stderr
    } else {
        OutputStream::Stdout
    };
    LogLine {
        time_unix_nano: line.time,
        stream: stream.into(),
        content: line.content,
        partial: line.partial,
    }
}

fn parse(request: StreamLogsRequest) -> Result<LogRequest, Status> {
    let (mut stdout, mut stderr) = (request.streams.is_empty(), request.streams.is_empty());
    for stream in &request.streams {
        match OutputStream::try_from(*stream) {
            Ok(OutputStream::Stdout) => stdout = true,
            Ok(OutputStream::Stderr) => stderr = true,
            Ok(OutputStream::Unspecified) | Err(_) => {
                return Err(error::invalid(
                    "streams",
                    &stream.to_string(),
                    "give OUTPUT_STREAM_STDOUT or OUTPUT_STREAM_STDERR",
                ));
            }
        }
    }
    Ok(LogRequest {
        container: container_ref(&request.container)?,
        follow: request.follow,
        tail: request.tail_lines,
        since: request
            .since
            .map(|time| nanos("since", &time))
            .transpose()?,
        until: request
            .until
            .map(|time| nanos("until", &time))
            .transpose()?,
        stdout,
        stderr,
    })
}
