//! Takes a call's request body, at the pace of the other end's credit.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http_body::Body as _;
use tonic::{Status, body::Body};

use super::{Call, Inner};

/// Takes what is there of the body, so that a short request is one frame, opens the call, and goes on with the rest beside it.
pub(crate) async fn start(
    inner: &Arc<Inner>,
    call: &Arc<Call>,
    mut body: Body,
) -> Result<(), Status> {
    let whole = poll_fn(|cx| Poll::Ready(take(call, &mut body, cx))).await;
    if let Poll::Ready(Err(status)) = whole {
        return Err(status);
    }
    inner.open_when_linked(call).await?;
    if whole.is_pending() {
        let (inner, call) = (Arc::clone(inner), Arc::clone(call));
        let tasks = inner.tasks.clone();
        tasks.spawn(async move {
            if let Err(status) = poll_fn(|cx| rest(&call, &mut body, cx)).await {
                inner.cancel(&call);
                call.fail(status);
            }
        });
    }
    Ok(())
}

fn rest(call: &Call, body: &mut Body, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
    if call.is_over() {
        return Poll::Ready(Ok(()));
    }
    let taken = take(call, body, cx);
    call.send();
    // The call may have ended before its waker was known here.
    if taken.is_pending() && call.is_over() {
        return Poll::Ready(Ok(()));
    }
    taken
}

fn take(call: &Call, body: &mut Body, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
    loop {
        if !call.wants_more(cx) {
            return Poll::Pending;
        }
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => {
                call.wake_when_over(cx);
                return Poll::Pending;
            }
            Poll::Ready(None) => {
                call.complete_request();
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Some(Err(status))) => return Poll::Ready(Err(status)),
            Poll::Ready(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    call.push(data);
                }
            }
        }
        if body.is_end_stream() {
            call.complete_request();
            return Poll::Ready(Ok(()));
        }
    }
}
