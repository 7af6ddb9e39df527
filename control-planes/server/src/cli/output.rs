//! Writes to standard output and standard error on a thread of their own.
//!
//! A reader that is slow (a pager) then holds up the stream, by way of the bounded queue, and never the
//! signals; and each write takes whatever has come since the last one.

use std::{
    fs::File,
    io::{self, Write as _},
    thread,
};

use std::os::unix::fs::FileTypeExt as _;

use tokio::{
    io::Interest,
    net::unix::pipe,
    sync::{mpsc, oneshot},
};

use super::failure::Failure;

/// Pieces that wait to be written. One is at most as large as a gRPC message.
const QUEUE: usize = 4;

/// Where bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Out,
    Err,
}

/// The writing thread's inlet.
pub(crate) struct Output {
    pieces: mpsc::Sender<(Side, Vec<u8>)>,
    ended: oneshot::Receiver<io::Result<()>>,
}

/// Notices that nobody reads standard output any more, even when nothing is written.
pub(crate) struct Reader(Option<pipe::Sender>);

impl Output {
    /// Starts the thread.
    pub(crate) fn start() -> Result<(Self, Reader), Failure> {
        let out = duplicate(io::stdout()).map_err(Failure::Output)?;
        let err = duplicate(io::stderr()).map_err(Failure::Output)?;
        let watched = out.try_clone().map_err(Failure::Output)?;
        let (pieces, queue) = mpsc::channel(QUEUE);
        let (tell, ended) = oneshot::channel();
        thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || {
                let _ = tell.send(write_all(queue, out, err));
            })
            .map_err(Failure::Start)?;
        let is_pipe = watched
            .metadata()
            .is_ok_and(|file| file.file_type().is_fifo());
        // Unchecked, because the check would make the pipe non-blocking for everybody who shares it.
        let watched = is_pipe.then(|| pipe::Sender::from_file_unchecked(watched).ok());
        Ok((Self { pieces, ended }, Reader(watched.flatten())))
    }

    /// Hands bytes over; waits while the reader is slow.
    pub(crate) async fn write(&mut self, side: Side, bytes: Vec<u8>) -> Result<(), Failure> {
        if bytes.is_empty() || self.pieces.send((side, bytes)).await.is_ok() {
            return Ok(());
        }
        Err(outcome((&mut self.ended).await)
            .err()
            .unwrap_or_else(closed))
    }

    /// Waits until everything is written.
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        drop(self.pieces);
        outcome(self.ended.await)
    }
}

impl Reader {
    /// Returns when standard output is a pipe whose reader has gone.
    pub(crate) async fn gone(&self) {
        match &self.0 {
            Some(pipe) => {
                if pipe.ready(Interest::ERROR).await.is_err() {
                    std::future::pending().await
                }
            }
            None => std::future::pending().await,
        }
    }
}

/// The failure of an output that nobody reads.
pub(crate) fn closed() -> Failure {
    Failure::Output(io::ErrorKind::BrokenPipe.into())
}

/// Writes a whole answer to standard output.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(Failure::Output)
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_vec(value).map_err(|error| Failure::Output(error.into()))?;
    text.push(b'\n');
    print(&text)
}

fn outcome(ended: Result<io::Result<()>, oneshot::error::RecvError>) -> Result<(), Failure> {
    ended
        .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
        .map_err(Failure::Output)
}

fn duplicate(stream: impl std::os::fd::AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

fn write_all(
    mut queue: mpsc::Receiver<(Side, Vec<u8>)>,
    mut out: File,
    mut err: File,
) -> io::Result<()> {
    while let Some((side, bytes)) = queue.blocking_recv() {
        match side {
            Side::Out => out.write_all(&bytes)?,
            Side::Err => err.write_all(&bytes)?,
        }
    }
    Ok(())
}
