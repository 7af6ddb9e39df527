//! A stream of an engine that may be silent for ever, and so may one that hangs: when the engine does not answer
//! others, it is asked.

use bytes::Bytes;

use super::{engine::Engine, error::Error, socket::Writer, status::Watch, stream::Stream};

/// A stream that is read as long as the engine is there.
#[derive(Debug)]
pub(super) struct Attended {
    engine: Engine,
    status: Watch,
    stream: Stream,
}

impl Attended {
    pub(super) fn new(engine: &Engine, stream: Stream) -> Self {
        Self {
            engine: engine.clone(),
            status: engine.watch(),
            stream,
        }
    }

    /// The connection's other direction, if it has one.
    pub(super) fn take_writer(&mut self) -> Option<Writer> {
        self.stream.take_writer()
    }

    /// It ended where it should not.
    pub(super) fn broke(&self, cause: &str) -> Error {
        self.engine.transport().broke(cause)
    }

    /// The next bytes; none at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            tokio::select! {
                biased;
                next = self.stream.next() => return next,
                () = self.status.away() => {
                    // One call in trouble is no proof.
                    self.engine.transport().probe().await?;
                }
            }
        }
    }
}
