//! The answer as its consumer reads it.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use crate::{
    channel::{Call, Channel, Piece},
    error,
};

/// Keeps a call open. When it is dropped before the answer is whole, the call is cancelled at both ends.
pub(crate) struct Guard {
    channel: Channel,
    call: Arc<Call>,
}

impl Guard {
    pub(crate) fn new(channel: Channel, call: Arc<Call>) -> Self {
        Self { channel, call }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.call.is_answered() {
            self.channel.inner.done(&self.call);
        } else {
            self.channel.inner.cancel(&self.call);
        }
        self.call.close();
    }
}

/// The body of an answer, trailers included.
pub struct ResponseBody {
    guard: Guard,
    deadline: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl ResponseBody {
    pub(crate) fn new(guard: Guard, deadline: Option<Instant>) -> Self {
        Self {
            guard,
            deadline: deadline.map(|at| Box::pin(sleep_until(at))),
            ended: false,
        }
    }

    /// Waits for the answer's head.
    pub(crate) async fn head(mut self) -> Result<Response<Self>, Status> {
        let (status, headers) = poll_fn(|cx| match self.guard.call.poll_head(cx) {
            Poll::Pending => self.poll_deadline(cx).map(Err),
            ready => ready,
        })
        .await?;
        let mut response = Response::new(self);
        *response.status_mut() =
            http::StatusCode::from_u16(status).map_err(|_| error::protocol_violation("status"))?;
        *response.headers_mut() = headers;
        Ok(response)
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        match &mut self.deadline {
            Some(deadline) => deadline
                .as_mut()
                .poll(cx)
                .map(|()| error::deadline_passed()),
            None => Poll::Pending,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match self.guard.call.poll_piece(cx) {
            Poll::Ready(Some(Ok(Piece::Data(data)))) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Poll::Ready(Some(Ok(Piece::Trailers(trailers)))) => {
                self.ended = true;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Poll::Ready(Some(Err(status))) => {
                self.ended = true;
                Poll::Ready(Some(Err(status)))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => {
                let status = std::task::ready!(self.poll_deadline(cx));
                self.ended = true;
                Poll::Ready(Some(Err(status)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.guard.call.is_drained()
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
