//! Files of a container, in and out, as tar.
//!
//! ```text
//!  caller ──> pieces ──> upload, which looks at each entry ──> engine
//! ```
//! Each side waits for the next one; nothing grows with the archive. When any of them fails or the caller is gone, the
//! connection to the engine is closed before its end, which the engine takes for what it is.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream as Pieces, StreamExt};

use super::{
    archive::{ArchiveError, Purpose, Summary},
    ask::escaped,
    attended::Attended,
    container_look::{FileStat, no_file, stat},
    engine::Engine,
    error::{Error, Subject},
    names::{ContainerPath, ContainerRef},
    stream::{Stream, StreamRequest},
    upload::{Input, Passing, Piece, UploadRequest, incoming},
};

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
        let (feed, incoming) = incoming();
        let owners = request.keep_owners;
        let sending = async {
            let upload = UploadRequest {
                method: "PUT",
                path: &path(request),
                headers: "",
                subject: Subject::Container(request.container.as_str()),
                // It is the caller who says how long it takes.
                quiet_limit: Duration::MAX,
            };
            let passing = Passing::start(incoming, Purpose::Files { owners });
            let upload = self.upload(upload, passing).await?;
            let early = || {
                let cause = "it answered before it had everything";
                self.transport().broke(cause)
            };
            upload.summary.ok_or_else(early)
        };
        let sent = tokio::select! {
            biased;
            failed = feeding(input, feed) => Err(CopyError::Input(failed)),
            sent = sending => sent.map_err(CopyError::Engine),
        };
        self.probe_while_away();
        sent.map_err(|error| match error {
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
            // The caller has said that this is the end.
            CopyError::Engine(Error::Archive(ArchiveError::Io(cut))) => {
                Error::from(ArchiveError::NotTar(cut.to_string())).into()
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
async fn feeding<E>(mut input: impl Pieces<Item = Result<Bytes, E>> + Unpin, feed: Input) -> E {
    loop {
        let piece = match input.next().await {
            Some(Ok(content)) => Piece::Content(content),
            None => Piece::End,
            Some(Err(error)) => return error,
        };
        let end = matches!(piece, Piece::End);
        // Nobody takes it when the upload has ended, which tells why.
        if feed.send(piece).await.is_err() || end {
            return std::future::pending().await;
        }
    }
}
