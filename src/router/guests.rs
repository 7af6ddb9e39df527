//! The connections of the agent's own port: not too many at once, and none that stays silent.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tonic::transport::server::{Connected, TcpConnectInfo};
use turbopanel_tunnel::FirstBytes;

/// Connections at once, at most. Further ones wait in the kernel.
pub(super) const CONNECTIONS: usize = 128;
/// How long the first bytes of a connection may take.
const FIRST_BYTES: Duration = Duration::from_secs(10);
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
                        info: stream.connect_info(),
                        io: FirstBytes::new(stream, FIRST_BYTES),
                        _permit: permit,
                    };
                    return Some((Ok(guest), (listener, room)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the agent's port could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    })
}

/// One connection.
pub(super) struct Guest {
    io: FirstBytes<TcpStream>,
    info: TcpConnectInfo,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Guest {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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
