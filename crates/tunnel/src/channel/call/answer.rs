//! The answer of a call, as it arrives and as its consumer takes it.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use tonic::Status;

use super::Call;
use crate::{
    flow::Violation,
    headers,
    proto::{Header, Response},
    sync::lock,
};

/// What an answer's consumer gets.
pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Call {
    /// Takes a part of the answer.
    pub(crate) fn response(&self, response: Response) -> Result<(), Violation> {
        {
            let mut state = lock(&self.state);
            if response.status != 0 && !state.head_arrived {
                let headers =
                    headers::from_frame(response.headers).map_err(|_| Violation::BadOffset)?;
                let status = u16::try_from(response.status).map_err(|_| Violation::BadOffset)?;
                state.head = Some((status, headers));
                state.head_arrived = true;
                let commanded_at = state.commanded_at.take();
                if let (Some(outbox), Some(at)) = (&state.outbox, commanded_at) {
                    outbox.observe_round_trip(at.elapsed());
                }
            }
        }
        let trailers = response.end.then_some(response.trailers);
        self.body(response.offset, response.body, trailers)
    }

    /// Takes a part of the answer's body, and its trailers if it is the last.
    pub(crate) fn body(
        &self,
        offset: u64,
        body: Bytes,
        trailers: Option<Vec<Header>>,
    ) -> Result<(), Violation> {
        let mut state = lock(&self.state);
        if !state.head_arrived {
            return Err(Violation::NoHead);
        }
        let end = offset.saturating_add(body.len() as u64);
        state.answer.accept(offset, body)?;
        if let Some(trailers) = trailers
            && !state.answer.is_complete()
        {
            state.answer.complete_at(end)?;
            state.trailers = Some(headers::from_frame(trailers).map_err(|_| Violation::BadOffset)?);
        }
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
        Ok(())
    }

    /// Waits for the answer's head.
    pub(crate) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<(u16, HeaderMap), Status>> {
        let mut state = lock(&self.state);
        if let Some(head) = state.head.take() {
            return Poll::Ready(Ok(head));
        }
        if let Some(status) = state.failed.take() {
            return Poll::Ready(Err(status));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes the next piece of the answer. `None` after the last.
    pub(crate) fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Status>>> {
        let mut state = lock(&self.state);
        if let Some(chunk) = state.answer.take() {
            state.grant(&self.growth);
            return Poll::Ready(Some(Ok(Piece::Data(chunk))));
        }
        if state.answer.is_complete() {
            let trailers = state
                .trailers
                .take()
                .filter(|trailers| !trailers.is_empty());
            return Poll::Ready(trailers.map(|trailers| Ok(Piece::Trailers(trailers))));
        }
        if let Some(status) = state.failed.take() {
            return Poll::Ready(Some(Err(status)));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The whole answer has arrived.
    pub(crate) fn is_answered(&self) -> bool {
        lock(&self.state).answer.is_complete()
    }

    /// The whole answer, trailers included, was taken.
    pub(crate) fn is_drained(&self) -> bool {
        let state = lock(&self.state);
        state.answer.is_drained() && state.trailers.as_ref().is_none_or(HeaderMap::is_empty)
    }
}
