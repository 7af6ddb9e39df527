//! Runs a call's handler and takes its answer, at the pace of the caller's credit and of the link.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Request};
use http_body::Body as _;
use tonic::body::Body;

use super::{Inner, body::RequestBody, call::Call, table::Table};
use crate::{FIRST_WINDOW, MAX_BODY_FRAME, headers, proto::ResetCode, sync::lock};

/// What is taken of the answer before it is handed to the link.
const GATHER: usize = MAX_BODY_FRAME;

/// What every call may keep of its answer, however much is kept in all. Callers credit more often than
/// that, so that a call which stops here always goes on by its own caller's credit.
const FAIR_SHARE: usize = FIRST_WINDOW as usize;

/// Runs the handler and takes its answer, at the pace of the caller's credit.
pub(crate) async fn run(inner: Arc<Inner>, call: Arc<Call>, mut request: Request<()>) {
    let body = {
        let extensions = std::mem::take(request.extensions_mut());
        let mut request = request.map(|()| Body::new(RequestBody::new(Arc::clone(&call))));
        *request.extensions_mut() = extensions;
        request
    };
    let _running = Running(Arc::clone(&inner));
    let work = AssertUnwindSafe(answer(&inner, &call, body)).catch_unwind();
    let failure = match work.await {
        Ok(Ok(())) => None,
        Ok(Err(message)) => Some(message),
        Err(_) => {
            tracing::error!(call = %call.key.id, "a handler panicked; its call ends, everything else goes on");
            Some("the handler failed".to_owned())
        }
    };
    let finished = failure.is_none();
    if let Some(message) = failure {
        tracing::warn!(call = %call.key.id, message, "a call's answer could not be sent");
        lock(&call.state).fail(ResetCode::Internal, &message);
    }
    inner.table.ended(&call, finished);
    Table::sweep_later(&inner);
}

/// Counts the handler's task until it is gone, also when it is aborted.
struct Running(Arc<Inner>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.table.stopped();
    }
}

async fn answer(inner: &Inner, call: &Arc<Call>, request: Request<Body>) -> Result<(), String> {
    let response = match inner.handle(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let head = headers::to_frame(&parts.headers).map_err(|error| error.to_string())?;
    lock(&call.state).head = Some((parts.status.as_u16(), head));
    let mut taking = Taking {
        inner,
        call,
        body,
        gathered: 0,
    };
    std::future::poll_fn(|cx| taking.poll(cx)).await
}

/// Takes the answer's body piece by piece.
struct Taking<'a> {
    inner: &'a Inner,
    call: &'a Call,
    body: Body,
    gathered: usize,
}

impl Taking<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        loop {
            if !self.has_room(cx) {
                return Poll::Pending;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => {
                    self.hand_over();
                    return Poll::Pending;
                }
                Poll::Ready(None) => {
                    self.complete(HeaderMap::new())?;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Some(Err(status))) => {
                    let mut trailers = HeaderMap::new();
                    if status.add_header(&mut trailers).is_err() {
                        return Poll::Ready(Err("the answer broke off".to_owned()));
                    }
                    self.complete(trailers)?;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.take(data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.complete(trailers)?;
                            return Poll::Ready(Ok(()));
                        }
                    }
                },
            }
        }
    }

    /// Tells whether the caller's credit, and what may be kept in all, leave room for more.
    fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        let mut state = lock(&self.call.state);
        let crowded = self.inner.table.is_crowded() && state.answer.kept() >= FAIR_SHARE;
        if !state.answer.wants_more() || crowded {
            state.writer = Some(cx.waker().clone());
            state.send(self.call.class);
            self.gathered = 0;
            return false;
        }
        // The link has enough to do: what is taken now would only wait there.
        match &state.place {
            Some(place) if self.gathered == 0 => {
                place.outbox.has_room(place.slot, place.stream, cx.waker())
            }
            _ => true,
        }
    }

    fn take(&mut self, data: Bytes) {
        self.gathered += data.len();
        let mut state = lock(&self.call.state);
        state.answer.push(data);
        self.call.count(&mut state);
        if self.gathered >= GATHER {
            self.gathered = 0;
            state.send(self.call.class);
        }
    }

    fn hand_over(&mut self) {
        self.gathered = 0;
        lock(&self.call.state).send(self.call.class);
    }

    fn complete(&mut self, trailers: HeaderMap) -> Result<(), String> {
        let trailers = headers::to_frame(&trailers).map_err(|error| error.to_string())?;
        let mut state = lock(&self.call.state);
        state.trailers = trailers;
        state.answer.complete();
        state.send(self.call.class);
        Ok(())
    }
}
