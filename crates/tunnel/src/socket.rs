//! A WebSocket over any byte stream, with the limits and socket options that the tunnel needs.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::protocol::{Role, WebSocketConfig},
};

use crate::MAX_PACKET;

/// Bytes that the kernel may hold unsent: little, so that what is urgent need not wait behind them.
const NOTSENT_LOWAT: u32 = 32 * 1024;
/// The same on one machine, where they are gone at once and each further turn of the writer costs.
const NOTSENT_LOWAT_LOOPBACK: u32 = 256 * 1024;
/// The kernel gives up on unacknowledged data after this time.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// What is read at once: it is cleared before each read, and should stay in the processor's cache.
const READ_BUFFER: usize = 16 * 1024;
/// What is gathered before it is written.
const WRITE_BUFFER: usize = 64 * 1024;

/// 16 random bytes that name one run of a process, or one call.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance([u8; 16]);

impl Instance {
    /// Makes a new one.
    ///
    /// # Panics
    /// When the operating system has no random numbers; nothing can be safe then.
    #[allow(clippy::expect_used)]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
        Self(bytes)
    }

    /// Takes 16 bytes that a peer sent.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Any byte stream.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A byte stream that counts what it reads, so that a link that is slow can be told from one that is dead.
pub(crate) struct Counted {
    io: Box<dyn Io>,
    read: u64,
}

impl Counted {
    pub(crate) fn new(io: impl Io + 'static) -> Self {
        Self {
            io: Box::new(io),
            read: 0,
        }
    }

    /// How many bytes have been read.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        self.read += (buf.filled().len() - before) as u64;
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A WebSocket after its handshake.
pub struct Socket {
    pub(crate) ws: WebSocketStream<Counted>,
}

impl Socket {
    /// Takes a byte stream whose HTTP upgrade is done. `dialled`: this end sent the request.
    pub async fn new(
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        dialled: bool,
    ) -> Self {
        let role = if dialled { Role::Client } else { Role::Server };
        let ws = WebSocketStream::from_raw_socket(Counted::new(io), role, Some(config())).await;
        Self { ws }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

/// The limits of every WebSocket of the tunnel.
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(4 * MAX_PACKET)
        .max_message_size(Some(MAX_PACKET))
        .max_frame_size(Some(MAX_PACKET))
}

/// Sets what keeps a TCP connection quick and tells when it is dead. Both ends of a tunnel
/// should do so. An option that the system lacks is left out: the tunnel's own liveness does not need it.
pub fn set_options(tcp: &TcpStream) {
    let _ = tcp.set_nodelay(true);
    let socket = socket2::SockRef::from(tcp);
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
    let loopback = tcp
        .peer_addr()
        .is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
    let _ = socket.set_tcp_notsent_lowat(match loopback {
        true => NOTSENT_LOWAT_LOOPBACK,
        false => NOTSENT_LOWAT,
    });
}
