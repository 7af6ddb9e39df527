//! Accepts connections and speaks HTTP/1.1 and HTTP/2 on them, within limits.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use turbopanel_tunnel::FirstBytes;

use super::doors::Doors;

/// Refusals for want of room that are written at once, at most. Others are closed without a word.
const REFUSING: usize = 64;
/// How long such a refusal may take.
const REFUSAL: Duration = Duration::from_secs(2);
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(10);
/// How long to wait when the system gives no further connection, for example for want of descriptors.
const BREATH: Duration = Duration::from_millis(200);
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nTurbopanel-Mode: websocket\r\nContent-Length: 51\r\nConnection: close\r\n\r\nthe control plane has no room for more connections\n";

/// Accepts until a stop is asked for. `connections` holds what was accepted.
pub(super) async fn accept(
    listener: TcpListener,
    max: usize,
    doors: Arc<Doors>,
    connections: TaskTracker,
) {
    let room = Arc::new(Semaphore::new(max));
    let refusing = Arc::new(Semaphore::new(REFUSING));
    let http = Arc::new(http());
    loop {
        let accepted = tokio::select! {
            biased;
            () = doors.stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&room).try_acquire_owned() {
                Ok(permit) => {
                    let serving =
                        serve(stream, peer, Arc::clone(&doors), Arc::clone(&http), permit);
                    connections.spawn(serving);
                }
                Err(_) => {
                    tracing::warn!(%peer, "a connection was refused: there are {max} already");
                    if let Ok(permit) = Arc::clone(&refusing).try_acquire_owned() {
                        connections.spawn(async move {
                            let _permit = permit;
                            timeout(REFUSAL, refuse(stream)).await
                        });
                    }
                }
            },
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// Says that there is no room. Then reads what the peer sends: closing with bytes unread would take the
/// answer back.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    let mut unread = [0; 1024];
    stream.write_all(BUSY).await?;
    stream.shutdown().await?;
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    doors: Arc<Doors>,
    http: Arc<auto::Builder<TokioExecutor>>,
    _permit: OwnedSemaphorePermit,
) {
    turbopanel_tunnel::set_options(&stream);
    let io = TokioIo::new(FirstBytes::new(stream, HEAD));
    let service = {
        let doors = Arc::clone(&doors);
        service_fn(move |request: Request<Incoming>| {
            let answering = Arc::clone(&doors).answer(request, peer);
            async move { Ok::<_, Infallible>(answering.await) }
        })
    };
    let mut connection = std::pin::pin!(http.serve_connection_with_upgrades(io, service));
    let result = tokio::select! {
        biased;
        () = doors.stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                result = connection.as_mut() => result,
                // A moment for the statuses that end the last calls.
                () = async {
                    doors.stopped.cancelled().await;
                    tokio::time::sleep(BREATH).await;
                } => Ok(()),
            }
        }
        result = connection.as_mut() => result,
    };
    if let Err(error) = result {
        tracing::debug!(%peer, error, "a connection ended");
    }
}

fn http() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(64)
        .max_buf_size(32 * 1024);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_pending_accept_reset_streams(32)
        .max_local_error_reset_streams(128)
        .max_header_list_size(16 * 1024)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .max_frame_size(64 * 1024)
        .max_send_buf_size(256 * 1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}
