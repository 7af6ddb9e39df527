//! Files of a container, in and out, as tar.
//!
//! ```text
//!  caller ──> 4 pieces ──> rewriting (a thread: see `archive`) ──> 4 pieces ──> upload ──> engine
//! ```
//! Each side waits for the next one; nothing grows with the archive. When any of them fails or the caller is gone, the
//! connection to the engine is closed before its end, which the engine takes for what it is.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream as Pieces, StreamExt};
use tokio::sync::mpsc;

use super::{
    archive::{ArchiveError, Summary, rewrite},
    ask::escaped,
    attended::Attended,
    container_look::{FileStat, no_file, stat},
    engine::Engine,
    error::{Error, Subject},
    names::{ContainerPath, ContainerRef},
    stream::{Stream, StreamRequest},
    upload::Upload,
};

/// Pieces that wait on each side of the rewriting.
const WAITING: usize = 4;
/// A piece for the engine.
const PIECE: usize = 64 << 10;

/// Files that come out of a container. Dropping it ends the engine's work for it.
#[derive(Debug)]
pub struct CopyOut {
    /// What is copied.
    pub stat: FileStat,
    archive: Attended,
    begun: bool,
}

impl CopyOut {
    /// The next piece of the archive; none at its end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let piece = self.archive.next().await?;
        if !std::mem::replace(&mut self.begun, true)
            && piece
                .as_ref()
                .is_some_and(|piece| piece.first() == Some(&0))
        {
            // An archive of nothing, though the file is there: engines do that.
            let message = "it gives nothing for a file whose own name is not UTF-8; copy the directory that it is in";
            return Err(Error::NotAllowed {
                message: message.to_owned(),
            });
        }
        Ok(piece)
    }
}

/// Where files go in a container.
#[derive(Debug, Clone)]
pub struct CopyInRequest {
    /// Whose.
    pub container: ContainerRef,
    /// A directory that is there.
    pub directory: ContainerPath,
    /// Refuses to put a file where a directory is, or the other way round.
    pub keep_kinds: bool,
    /// With the owners of the archive, instead of root.
    pub keep_owners: bool,
}

/// Why files did not go in.
#[derive(Debug, thiserror::Error)]
pub enum CopyError<E> {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The archive.
    #[error(transparent)]
    Archive(ArchiveError),
    /// The caller's stream.
    #[error("the archive did not come whole")]
    Input(E),
}

impl Engine {
    /// Reads a file, or a directory with all that is in it.
    pub async fn copy_out(
        &self,
        container: &ContainerRef,
        file: &ContainerPath,
    ) -> Result<CopyOut, Error> {
        let path = format!(
            "/containers/{container}/archive?path={}",
            escaped(file.as_bytes())
        );
        let request = StreamRequest {
            method: "GET",
            path: &path,
            body: "",
            upgrade: false,
            subject: Subject::Container(container.as_str()),
            deadline: self.deadlines().call,
        };
        let opened = Stream::open(self.transport(), request).await;
        self.probe_while_away();
        let stream = opened.map_err(|error| match error {
            Error::Failed { status: 404, .. } => no_file(container, file),
            error => error,
        })?;
        Ok(CopyOut {
            stat: stat(stream.path_stat())?,
            archive: Attended::new(self, stream),
            begun: false,
        })
    }

    /// Unpacks what may be unpacked of an archive.
    pub async fn copy_in<E>(
        &self,
        request: &CopyInRequest,
        input: impl Pieces<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Summary, CopyError<E>> {
        let (feed, fed) = mpsc::channel(WAITING);
        let (out, mut pieces) = mpsc::channel(WAITING);
        let owners = request.keep_owners;
        let rewriting = tokio::task::spawn_blocking(move || {
            let fed = Fed {
                fed,
                piece: Bytes::new(),
                over: false,
            };
            let out = Out {
                out,
                piece: BytesMut::new(),
            };
            rewrite(fed, out, owners)
        });
        let subject = Subject::Container(request.container.as_str());
        let sending = async {
            let mut upload = Upload::begin(self.transport(), &path(request)).await?;
            while let Some(piece) = pieces.recv().await {
                upload.send(&piece, subject).await?;
            }
            let summary = match rewriting.await {
                Ok(rewritten) => rewritten.map_err(CopyError::Archive)?,
                Err(panicked) => return Err(Error::Protocol(panicked.to_string()).into()),
            };
            upload.finish(subject).await?;
            Ok(summary)
        };
        let sent = self.while_there(async {
            tokio::select! {
                biased;
                failed = feeding(input, feed) => Ok(Err(CopyError::Input(failed))),
                sent = sending => Ok(sent),
            }
        });
        let sent = sent.await.map_err(CopyError::Engine);
        self.probe_while_away();
        sent.flatten().map_err(|error| match error {
            CopyError::Engine(Error::Failed { status: 404, .. }) => {
                no_file(&request.container, &request.directory).into()
            }
            CopyError::Engine(Error::Failed { message, .. })
                if message.contains("is not a directory")
                    || message.contains("cannot overwrite") =>
            {
                Error::Rejected { message }.into()
            }
            CopyError::Engine(Error::Failed { message, .. }) if message.contains("read-only") => {
                Error::NotAllowed { message }.into()
            }
            // All of it may have been unpacked.
            CopyError::Engine(Error::NoAnswer { .. }) => Error::OutcomeUnknown {
                container: request.container.to_string(),
                observed: String::new(),
            }
            .into(),
            error => error,
        })
    }
}

fn path(request: &CopyInRequest) -> String {
    format!(
        "/containers/{}/archive?path={}&noOverwriteDirNonDir={}",
        request.container,
        escaped(request.directory.as_bytes()),
        u8::from(request.keep_kinds),
    )
}

/// Gives on what comes, and at the end that it was all. Returns only when it does not come whole.
async fn feeding<E>(
    mut input: impl Pieces<Item = Result<Bytes, E>> + Unpin,
    feed: mpsc::Sender<Option<Bytes>>,
) -> E {
    loop {
        let piece = match input.next().await.transpose() {
            Ok(piece) => piece,
            Err(error) => return error,
        };
        let end = piece.is_none();
        // Nobody takes it when the rewriting has ended, which tells why.
        if feed.send(piece).await.is_err() || end {
            return std::future::pending().await;
        }
    }
}

/// What the caller sends, for a thread that reads it.
struct Fed {
    fed: mpsc::Receiver<Option<Bytes>>,
    piece: Bytes,
    over: bool,
}

impl Read for Fed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.over {
            match self.fed.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.over = true,
                // It was cut.
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let read = self.piece.len().min(buffer.len());
        self.piece
            .copy_to_slice(buffer.get_mut(..read).unwrap_or_default());
        Ok(read)
    }
}

/// What goes to the engine, from a thread that writes it.
struct Out {
    out: mpsc::Sender<Bytes>,
    piece: BytesMut,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let sent = self.out.blocking_send(self.piece.split().freeze());
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
