//! What ends a call besides its two ends: a revoked token, a removed agent, the deadline, a stop.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};

use crate::{
    registry::{Agent, Refusal, RegistryError, Token},
    services::error::CallError,
};

/// What may end a call.
#[derive(Debug)]
pub(super) struct Ending {
    /// The token that let the caller in.
    pub(super) token: Option<Arc<Token>>,
    /// The agent that is called.
    pub(super) agent: Option<Arc<Agent>>,
    /// How long the caller waits, where nobody else sees to it.
    pub(super) timeout: Option<Duration>,
    /// Cancelled when the time to drain is over.
    pub(super) stopped: CancellationToken,
}

impl Ending {
    /// Runs `answering`, and the body of its answer, until one of them ends the call.
    pub(super) async fn bound(
        self,
        answering: impl Future<Output = Response<Body>>,
    ) -> Response<Body> {
        let mut ending = Box::pin(self.end());
        let response = tokio::select! {
            biased;
            status = &mut ending => return status.into_http(),
            response = answering => response,
        };
        if response.body().is_end_stream() {
            return response;
        }
        response.map(|body| {
            Body::new(Bounded {
                body: Some(body),
                ending,
            })
        })
    }

    async fn end(self) -> Status {
        let deadline = self
            .timeout
            .and_then(|left| Instant::now().checked_add(left));
        let revoked = async {
            match &self.token {
                Some(token) => token.ended().cancelled().await,
                None => std::future::pending().await,
            }
        };
        let removed = async {
            match &self.agent {
                Some(agent) => agent.removed().cancelled().await,
                None => std::future::pending().await,
            }
        };
        let late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let error = tokio::select! {
            biased;
            () = revoked => {
                let id = self.token.as_ref().map(|token| token.id.to_string());
                CallError::from(Refusal::Revoked(id.unwrap_or_default()))
            }
            () = removed => {
                let name = self.agent.as_ref().map(|agent| agent.name.to_string());
                CallError::from(RegistryError::AgentUnknown(name.unwrap_or_default()))
            }
            () = late => CallError::DeadlinePassed,
            () = self.stopped.cancelled() => CallError::Stopping,
        };
        error.into()
    }
}

/// The answer's body, ended early by a status in its trailers.
struct Bounded<E> {
    body: Option<Body>,
    ending: Pin<Box<E>>,
}

impl<E: Future<Output = Status>> http_body::Body for Bounded<E> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        // First, so that a body that always has more cannot outlive its token.
        if let Poll::Ready(status) = this.ending.as_mut().poll(cx) {
            this.body = None;
            return Poll::Ready(Some(trailers(&status)));
        }
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        if !matches!(&frame, Some(Ok(frame)) if frame.is_data()) {
            this.body = None;
        }
        // hyper resets a stream whose body fails: the caller would see a broken connection, not why.
        Poll::Ready(match frame {
            Some(Err(status)) => Some(trailers(&status)),
            frame => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// A status as the end of an answer.
fn trailers(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}
