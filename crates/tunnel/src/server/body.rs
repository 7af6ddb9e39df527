//! The request's body as the handler reads it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tonic::Status;

use super::call::Call;
use crate::sync::lock;

/// Reads what has arrived and gives the caller new credit for what was read.
pub(crate) struct RequestBody {
    call: Arc<Call>,
}

impl RequestBody {
    pub(crate) fn new(call: Arc<Call>) -> Self {
        Self { call }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut state = lock(&self.call.state);
        if let Some(chunk) = state.request.take() {
            self.call.grant(&mut state);
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if state.request.is_complete() {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.call.state).request.is_drained()
    }
}

impl Drop for RequestBody {
    /// The handler wants no more of it: what comes is dropped, and costs the caller no credit.
    fn drop(&mut self) {
        let mut state = lock(&self.call.state);
        state.request_over = true;
        state.request.discard();
        self.call.grant(&mut state);
    }
}
