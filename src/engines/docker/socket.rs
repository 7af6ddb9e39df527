//! One connection to the engine's socket.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, UnixStream, tcp, unix},
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

    /// Waits until the other end closes, or says something that it was not asked for.
    pub(super) async fn ended(mut self) {
        // Whatever it is, it is the end of waiting.
        let _ = self.read(&mut [0]).await;
    }

    /// Both directions, each to be held where it is used. Closed when both are dropped.
    pub(super) fn split(self) -> (Reader, Writer) {
        match self {
            Self::Unix(stream) => {
                let (reader, writer) = stream.into_split();
                (Reader::Unix(reader), Writer::Unix(writer))
            }
            Self::Tcp(stream) => {
                let (reader, writer) = stream.into_split();
                (Reader::Tcp(reader), Writer::Tcp(writer))
            }
        }
    }
}

/// The direction from the engine.
#[derive(Debug)]
pub(super) enum Reader {
    Unix(unix::OwnedReadHalf),
    Tcp(tcp::OwnedReadHalf),
}

/// The direction to the engine. Dropping it says that nothing more will be written.
#[derive(Debug)]
pub(super) enum Writer {
    Unix(unix::OwnedWriteHalf),
    Tcp(tcp::OwnedWriteHalf),
}

impl Reader {
    /// Reads once into the buffer's spare room, waiting until something is there. Cancel-safe.
    pub(super) async fn read_buf(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Unix(reader) => reader.read_buf(buffer).await,
            Self::Tcp(reader) => reader.read_buf(buffer).await,
        }
    }
}

impl Writer {
    /// Writes once, and returns how much. Cancel-safe.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(writer) => writer.write(bytes).await,
            Self::Tcp(writer) => writer.write(bytes).await,
        }
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
