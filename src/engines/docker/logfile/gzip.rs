//! A compressed log file, read as it was before.
//!
//! The engine writes the time of its last record into the header, so that one that is too old need not be
//! unpacked.

use std::{
    io::{self, BufRead, Read},
    mem,
};

use flate2::bufread::GzDecoder;
use tokio::task::yield_now;

use super::file::{File, TURN};
use crate::engines::docker::time;

/// What is read of the compressed file at once.
const CHUNK: usize = 32 << 10;

/// Unpacks a file.
#[derive(Debug)]
pub(super) struct Unpacker {
    file: File,
    at: u64,
    decoder: GzDecoder<Chunk>,
    /// What was unpacked since the last pause.
    since_pause: usize,
}

/// Compressed bytes that are here. When they are used up, more has to be brought.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    taken: usize,
    last: bool,
}

impl Unpacker {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            at: 0,
            decoder: GzDecoder::new(Chunk::default()),
            since_pause: 0,
        }
    }

    /// Unpacks what there is room for; 0 at the end. Cancel-safe.
    pub(super) async fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.since_pause >= TURN {
            self.since_pause = 0;
            yield_now().await;
        }
        loop {
            match self.decoder.read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.bring().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    self.since_pause += read.as_ref().unwrap_or(&0);
                    return read;
                }
            }
        }
    }

    /// The time of the last record, when the header says it.
    pub(super) async fn last_time(&mut self) -> io::Result<Option<i64>> {
        // Reading nothing reads the header.
        self.read(&mut []).await?;
        let header = self.decoder.header();
        Ok(header.and_then(|header| last_time(header.extra()?)))
    }

    async fn bring(&mut self) -> io::Result<()> {
        // Nothing may be taken of what was not read, when this is cancelled.
        let mut bytes = mem::take(&mut self.decoder.get_mut().bytes);
        bytes.resize(CHUNK, 0);
        let read = self.file.read_at(&mut bytes, self.at).await?;
        bytes.truncate(read);
        self.at += read as u64;
        *self.decoder.get_mut() = Chunk {
            bytes,
            taken: 0,
            last: read == 0,
        };
        Ok(())
    }
}

/// The time in `{"lastTime":"…"}`.
fn last_time(extra: &[u8]) -> Option<i64> {
    let text = extra.strip_prefix(b"{\"lastTime\":\"")?;
    let end = memchr::memchr(b'"', text)?;
    time::parse(text.get(..end)?)
}

impl Read for Chunk {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(room)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Chunk {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = self.bytes.get(self.taken..).unwrap_or_default();
        if left.is_empty() && !self.last {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(left)
    }

    fn consume(&mut self, amount: usize) {
        self.taken += amount;
    }
}
