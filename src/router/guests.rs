//! The connections of the agent's own port: not too many at once, none that stays silent, and none that stays
//! without having shown the token.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep, timeout},
};
use tonic::transport::server::Connected;
use turbopanel_tunnel::FirstBytes;

/// Connections at once, at most. Further ones wait in the kernel.
pub(super) const CONNECTIONS: usize = 128;
/// How long the first bytes of a connection may take.
const FIRST_BYTES: Duration = Duration::from_secs(10);
/// How long a guest may stay a stranger: for liveness alone, and a place is taken from nobody for long.
const STRANGER: Duration = Duration::from_secs(30);
/// How long to wait when the system gives no further connection, for example for want of descriptors.
const BREATH: Duration = Duration::from_millis(200);

/// Accepts for ever.
pub(super) fn accept(listener: TcpListener) -> impl Stream<Item = io::Result<Guest>> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    stream::unfold((listener, room), |(listener, room)| async {
        // The permit comes first: whoever finds no room waits, and costs no descriptor.
        let permit = Arc::clone(&room).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    turbopanel_tunnel::set_options(&stream);
                    let guest = Guest {
                        io: FirstBytes::new(stream, FIRST_BYTES),
                        known: Known::default(),
                        leaves: Box::pin(sleep(STRANGER)),
                        _permit: permit,
                    };
                    return Some((Ok(guest), (listener, room)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the agent's port could not be accepted");
                    sleep(BREATH).await;
                }
            }
        }
    })
}

/// Whether a connection's caller has been let in; an extension of each request.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(Arc<AtomicBool>);

impl Known {
    /// The caller has been let in, and may stay.
    pub(super) fn let_in(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_let_in(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One connection.
pub(super) struct Guest {
    io: FirstBytes<TcpStream>,
    known: Known,
    leaves: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Guest {
    /// Whether it begins as HTTP/1 does that asks for something. What begins in any other way is HTTP/2, or its
    /// server says that it is not.
    pub(super) async fn asks_over_http1(&self) -> bool {
        let mut first = [0];
        let peek = self.io.get_ref().peek(&mut first);
        let peeked = timeout(FIRST_BYTES, peek).await;
        // "GET" or "HEAD"; the preface of HTTP/2 begins with "PRI".
        matches!(peeked, Ok(Ok(1))) && matches!(&first, b"G" | b"H")
    }

    /// Whether its caller has been let in.
    pub(super) fn known(&self) -> Known {
        self.known.clone()
    }
}

impl Connected for Guest {
    type ConnectInfo = Known;

    fn connect_info(&self) -> Known {
        self.known.clone()
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.known.is_let_in() && self.leaves.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
