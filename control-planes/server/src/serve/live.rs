//! The calls that run now, and what ends them besides their two ends: a revoked token, an agent that is
//! removed or shut out, the deadline, a stop.
//!
//! Whoever ends a call takes the answer's body out of it at once. That does not wait for the caller: while one
//! does not read, its HTTP/2 window is full and nobody polls the answer.
//!
//! ```text
//!  enter ──▶ answering ──▶ body ──▶ over
//!                │           │        ▲
//!                └────end────┴──▶ ended (a status)
//! ```

use std::{
    collections::HashMap,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use tokio::{sync::watch, task::AbortHandle, time::sleep};
use tokio_util::task::TaskTracker;
use tonic::{Status, body::Body};

use crate::{
    registry::{Agent, Refusal, Token},
    services::error::CallError,
};

/// Every call that runs.
#[derive(Debug, Default)]
pub(super) struct Live {
    state: Mutex<State>,
    timers: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<u64, Entry>,
    last: u64,
    stop: Stop,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    #[default]
    No,
    /// Calls that change nothing are over.
    Draining,
    /// All calls are over.
    Stopped,
}

#[derive(Debug)]
struct Entry {
    terms: Terms,
    call: Arc<dyn End>,
}

/// On what terms a call runs.
#[derive(Debug)]
pub(super) struct Terms {
    /// The token that let the caller in.
    pub(super) token: Option<Arc<Token>>,
    /// The agent that is called.
    pub(super) agent: Option<Arc<Agent>>,
    /// How long the caller waits.
    pub(super) timeout: Option<Duration>,
    /// It changes nothing.
    pub(super) reads: bool,
}

impl Terms {
    /// Why the call may not go on.
    fn lost(&self) -> Option<CallError> {
        if let Some(token) = self.token.as_ref().filter(|t| t.ended().is_cancelled()) {
            return Some(Refusal::Revoked(token.id.to_string()).into());
        }
        Some(self.agent.as_ref()?.refusal()?.into())
    }

    /// The same, when the control plane stops.
    fn stopped(&self, stop: Stop) -> Option<CallError> {
        let last = if self.reads {
            Stop::Draining
        } else {
            Stop::Stopped
        };
        (stop >= last).then_some(CallError::Stopping)
    }
}

impl Live {
    /// Has a call answered, and its answer read, until something ends it.
    pub(super) async fn run<B>(
        self: &Arc<Self>,
        terms: Terms,
        answering: impl Future<Output = Result<Response<B>, Status>>,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes, Error = Status> + Send + Unpin + 'static,
    {
        let call = Arc::new(Call::default());
        let entered = self.enter(terms, Arc::clone(&call) as Arc<dyn End>);
        let mut answering = pin!(answering);
        let answered = std::future::poll_fn(|cx| match call.poll_ended(cx) {
            Poll::Ready(status) => Poll::Ready(Err(status)),
            Poll::Pending => answering.as_mut().poll(cx),
        });
        let (head, body) = match answered.await {
            Ok(response) => response.into_parts(),
            Err(status) => return status.into_http(),
        };
        if body.is_end_stream() {
            return Response::from_parts(head, Body::empty());
        }
        match call.take_over(body) {
            Ok(()) => Response::from_parts(
                head,
                Body::new(Answer {
                    call,
                    _entered: entered,
                }),
            ),
            Err(status) => status.into_http(),
        }
    }

    fn enter(self: &Arc<Self>, terms: Terms, call: Arc<dyn End>) -> Entered {
        let timeout = terms.timeout;
        let (id, ended) = {
            let mut state = self.state();
            // What was lost before the call was entered ended nothing.
            let ended = terms.lost().or_else(|| terms.stopped(state.stop));
            state.last = state.last.wrapping_add(1);
            let call = Arc::clone(&call);
            let id = state.last;
            state.calls.insert(id, Entry { terms, call });
            (id, ended)
        };
        if let Some(error) = ended {
            call.end(error.into());
        }
        let timer = timeout.map(|timeout| {
            let call = Arc::downgrade(&call);
            let timer = self.timers.spawn(async move {
                sleep(timeout).await;
                if let Some(call) = call.upgrade() {
                    call.end(CallError::DeadlinePassed.into());
                }
            });
            timer.abort_handle()
        });
        Entered {
            live: Arc::clone(self),
            id,
            timer,
        }
    }

    /// Ends the calls whose token was revoked or whose agent is lost, whenever there is such a change.
    pub(super) async fn watch(&self, mut withdrawn: watch::Receiver<u64>) {
        while withdrawn.changed().await.is_ok() {
            self.end(Terms::lost);
        }
    }

    /// Ends the calls that change nothing, and those that come.
    pub(super) fn end_reads(&self) {
        self.end_by(Stop::Draining);
    }

    /// Ends every call, and those that come.
    pub(super) fn stop(&self) {
        self.end_by(Stop::Stopped);
    }

    fn end_by(&self, stop: Stop) {
        self.state().stop = stop;
        self.end(|terms| terms.stopped(stop));
    }

    fn end(&self, why: impl Fn(&Terms) -> Option<CallError>) {
        let ending: Vec<_> = {
            let state = self.state();
            let ending = state.calls.values();
            ending
                .filter_map(|entry| Some((Arc::clone(&entry.call), why(&entry.terms)?)))
                .collect()
        };
        for (call, error) in ending {
            call.end(error.into());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a call entered, until dropped.
struct Entered {
    live: Arc<Live>,
    id: u64,
    timer: Option<AbortHandle>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
        let entry = self.live.state().calls.remove(&self.id);
        // Not under the lock: it may hold the answer.
        drop(entry);
    }
}

/// A call that can be ended, whatever its answer's body is.
trait End: std::fmt::Debug + Send + Sync {
    /// Drops what answers it, and leaves this status for the caller.
    fn end(&self, status: Status);
}

struct Call<B>(Mutex<Progress<B>>);

struct Progress<B> {
    step: Step<B>,
    waker: Option<Waker>,
}

enum Step<B> {
    Answering,
    Body(B),
    Ended(Status),
    Over,
}

impl<B> Default for Call<B> {
    fn default() -> Self {
        Self(Mutex::new(Progress {
            step: Step::Answering,
            waker: None,
        }))
    }
}

impl<B> Call<B> {
    fn progress(&self) -> MutexGuard<'_, Progress<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when the call was ended; wakes when it is.
    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Status> {
        let mut progress = self.progress();
        if let Step::Ended(status) = &progress.step {
            return Poll::Ready(status.clone());
        }
        progress.wake(cx);
        Poll::Pending
    }

    /// Takes over the answer's body, unless the call was ended.
    fn take_over(&self, body: B) -> Result<(), Status> {
        let mut progress = self.progress();
        if let Step::Ended(status) = &progress.step {
            return Err(status.clone());
        }
        progress.step = Step::Body(body);
        Ok(())
    }
}

impl<B> Progress<B> {
    fn wake(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}

impl<B: Send> End for Call<B> {
    fn end(&self, status: Status) {
        let (step, waker) = {
            let mut progress = self.progress();
            if matches!(progress.step, Step::Ended(_) | Step::Over) {
                return;
            }
            let step = std::mem::replace(&mut progress.step, Step::Ended(status));
            (step, progress.waker.take())
        };
        drop(step);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<B> std::fmt::Debug for Call<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

/// The answer's body as the caller reads it.
struct Answer<B> {
    call: Arc<Call<B>>,
    _entered: Entered,
}

impl<B> http_body::Body for Answer<B>
where
    B: http_body::Body<Data = Bytes, Error = Status> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut progress = self.call.progress();
        let frame = match &mut progress.step {
            Step::Body(body) => match Pin::new(body).poll_frame(cx) {
                Poll::Pending => {
                    progress.wake(cx);
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                    return Poll::Ready(Some(Ok(frame)));
                }
                // hyper resets a stream whose body fails: the caller would see a broken connection, not why.
                Poll::Ready(Some(Err(status))) => Some(trailers(&status)),
                Poll::Ready(end) => end,
            },
            Step::Ended(status) => Some(trailers(status)),
            Step::Answering | Step::Over => None,
        };
        progress.step = Step::Over;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.call.progress().step {
            Step::Body(body) => body.is_end_stream(),
            Step::Answering | Step::Ended(_) => false,
            Step::Over => true,
        }
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
