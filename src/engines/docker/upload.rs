//! Requests whose content is long and comes little by little, while the answer may come already.
//!
//! ```text
//!  caller ── pieces ──▶ [blocking thread: archive/mod.rs] ── pieces ──▶ [task: chunks to the socket] ──▶ engine
//! ```
//! Every arrow holds a few pieces: whoever is slow makes the one before it wait.

use std::{
    io::{self, Read, Write},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    archive::{self, ArchiveError, Purpose, Summary},
    engine::Engine,
    error::{Error, Subject},
    socket::Writer,
    stream::Stream,
    transport::Transport,
    version::Identity,
};

/// Pieces that wait on each way.
const WAITING: usize = 4;
/// A piece that goes to the engine.
const PIECE: usize = 64 << 10;

/// What comes from the caller.
#[derive(Debug)]
pub enum Piece {
    /// Some of the archive.
    Content(Bytes),
    /// The archive is whole.
    End,
}

/// Where a caller's archive goes in. Dropped before [`Piece::End`], the archive counts as cut off.
pub type Input = mpsc::Sender<Piece>;

/// An archive on its way.
pub struct Incoming(mpsc::Receiver<Piece>);

/// The two ends of an archive's way in.
pub fn incoming() -> (Input, Incoming) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (sender, Incoming(receiver))
}

/// An answer that comes while its request is sent.
pub(super) struct Upload {
    pub(super) stream: Stream,
    /// What the archive had; none when the answer began before all of it was there.
    pub(super) summary: Option<Summary>,
    /// Sends, and holds the connection's other direction: an engine takes its end for the caller's.
    _sending: AbortOnDropHandle<io::Result<Writer>>,
}

/// What an archive is sent with.
pub(super) struct UploadRequest<'a> {
    pub(super) method: &'static str,
    /// Path and query, without the API version. Made of parsed names and escaped values only.
    pub(super) path: &'a str,
    /// More headers, each with its end of line.
    pub(super) headers: &'a str,
    pub(super) subject: Subject<'a>,
    /// How long nothing may move.
    pub(super) quiet_limit: Duration,
}

/// An archive that is looked at and passed on.
pub(super) struct Passing {
    receiver: mpsc::Receiver<Piece>,
    outcome: oneshot::Receiver<Result<Summary, ArchiveError>>,
}

impl Passing {
    /// Begins to look at an archive.
    pub(super) fn start(incoming: Incoming, purpose: Purpose) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (ended, outcome) = oneshot::channel();
        // Ends when either side goes: both are channels.
        drop(spawn_blocking(move || {
            let input = Source {
                receiver: incoming.0,
                rest: Bytes::new(),
                ended: false,
            };
            let mut output = Sink {
                sender,
                room: BytesMut::with_capacity(PIECE),
            };
            let passed = archive::rewrite(input, &mut output, purpose);
            let whole = passed.is_ok();
            // Told before the engine can answer for all of it. The other side may be gone, which it then tells itself.
            let _ = ended.send(passed);
            if whole {
                let _ = output.send(Piece::End);
            }
        }));
        Self { receiver, outcome }
    }
}

impl Engine {
    /// Sends an archive, and waits for the head of a good answer.
    pub(super) async fn upload(
        &self,
        request: UploadRequest<'_>,
        mut passing: Passing,
    ) -> Result<Upload, Error> {
        let UploadRequest {
            method,
            path,
            headers,
            subject,
            quiet_limit,
        } = request;
        let transport = self.transport();
        let version = transport.api_version().await?;
        let (reader, writer) = transport.connect().await?.split();
        let head = format!(
            "{method} /v{version}{path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n{headers}\
             Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let (moved, mut moves) = mpsc::channel(1);
        let sending = transport
            .tasks
            .spawn(send(writer, head, passing.receiver, moved));
        let mut upload = Upload {
            stream: Stream::answer(transport, reader),
            summary: None,
            _sending: AbortOnDropHandle::new(sending),
        };
        let outcome = {
            let answered = async {
                let head = upload.stream.head().await?;
                answered_by(transport, &head.headers);
                match upload.stream.refusal().await? {
                    None => Ok(()),
                    Some(refusal) => Err(Error::from_status(head.status, &refusal, subject)),
                }
            };
            tokio::pin!(answered);
            let mut looked_at = false;
            let mut summary = None;
            let outcome = loop {
                // Each piece that the engine takes is a sign of life.
                let sign = async {
                    match moves.recv().await {
                        Some(()) => Ok(()),
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    passed = &mut passing.outcome, if !looked_at => match passed {
                        Ok(Ok(passed)) => {
                            looked_at = true;
                            summary = Some(passed);
                        }
                        // Written to nobody: the engine says why.
                        Ok(Err(ArchiveError::Io(error))) if error.kind() == io::ErrorKind::BrokenPipe => looked_at = true,
                        Ok(Err(error)) => break Err(error.into()),
                        Err(_) => break Err(Error::Protocol("the archive's reader ended".to_owned())),
                    },
                    answer = &mut answered => break answer,
                    moved = self.patiently(quiet_limit, sign) => if let Err(error) = moved {
                        break Err(error);
                    },
                }
            };
            outcome.map(|()| summary)
        };
        upload.summary = outcome?;
        Ok(upload)
    }
}

fn answered_by(transport: &Arc<Transport>, headers: &http::HeaderMap) {
    if let Some(identity) = Identity::from_headers(headers) {
        transport.known.answered(&identity);
    }
}

async fn send(
    mut writer: Writer,
    head: String,
    mut pieces: mpsc::Receiver<Piece>,
    moved: mpsc::Sender<()>,
) -> io::Result<Writer> {
    write_all(&mut writer, head.as_bytes()).await?;
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Content(content) => {
                let size = format!("{:x}\r\n", content.len());
                write_all(&mut writer, size.as_bytes()).await?;
                write_all(&mut writer, &content).await?;
                write_all(&mut writer, b"\r\n").await?;
                // One sign is enough for whoever has not looked yet.
                let _ = moved.try_send(());
            }
            Piece::End => {
                write_all(&mut writer, b"0\r\n\r\n").await?;
                let _ = moved.try_send(());
                return Ok(writer);
            }
        }
    }
    // Without its last chunk the engine knows that it was cut off.
    Err(io::ErrorKind::UnexpectedEof.into())
}

async fn write_all(writer: &mut Writer, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = writer.write(bytes).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Pieces as something to read.
struct Source {
    receiver: mpsc::Receiver<Piece>,
    rest: Bytes,
    ended: bool,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Piece::Content(content)) => self.rest = content,
                Some(Piece::End) => self.ended = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let read = buffer.len().min(self.rest.len());
        if let Some(room) = buffer.get_mut(..read) {
            self.rest.copy_to_slice(room);
        }
        Ok(read)
    }
}

/// Pieces as something to write to.
struct Sink {
    sender: mpsc::Sender<Piece>,
    room: BytesMut,
}

impl Sink {
    fn send(&self, piece: Piece) -> io::Result<()> {
        let sent = self.sender.blocking_send(piece);
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.room.len());
        self.room
            .extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.room.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.room.is_empty() {
            return Ok(());
        }
        let full = self.room.split().freeze();
        self.room.reserve(PIECE);
        self.send(Piece::Content(full))
    }
}
