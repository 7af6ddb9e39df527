//! One connection to the engine's socket.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::{address::EngineAddress, error::Error};

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Calls the same of both kinds.
macro_rules! either {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket {
            Socket::Unix($stream) => $call,
            Socket::Tcp($stream) => $call,
        }
    };
}

impl Socket {
    /// Connects; the caller sets the deadline.
    pub(super) async fn connect(address: &EngineAddress) -> Result<Self, Error> {
        let connected = match address {
            EngineAddress::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
            EngineAddress::Tcp { host, port } => TcpStream::connect((host.as_str(), *port))
                .await
                .and_then(|stream| {
                    stream.set_nodelay(true)?;
                    Ok(Self::Tcp(stream))
                }),
        };
        connected.map_err(|error| {
            let address = address.to_string();
            match error.kind() {
                io::ErrorKind::PermissionDenied => Error::AccessDenied { address },
                io::ErrorKind::NotFound => Error::unreachable(&address, "there is no such socket"),
                io::ErrorKind::ConnectionRefused => {
                    Error::unreachable(&address, "nothing listens there")
                }
                _ => Error::unreachable(&address, error.to_string()),
            }
        })
    }

    /// Reads once into the buffer's spare room, waiting until something is there. Cancel-safe.
    pub(super) async fn read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        loop {
            // Waits first: trying first costs a call in vain whenever the engine is the slower one.
            either!(self, stream => stream.ready(Interest::READABLE).await)?;
            match either!(self, stream => stream.try_read_buf(buffer)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    /// Writes all of it.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            either!(self, stream => stream.ready(Interest::WRITABLE).await)?;
            match either!(self, stream => stream.try_write(bytes)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says that nothing more will be written; reading goes on.
    pub(super) fn end_writing(&self) -> io::Result<()> {
        let fd: BorrowedFd<'_> = either!(self, stream => stream.as_fd());
        Ok(rustix::net::shutdown(fd, rustix::net::Shutdown::Write)?)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
