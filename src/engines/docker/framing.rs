//! Docker's framing of standard output and standard error over one connection.
//!
//! Without a terminal every message begins with 8 bytes: the stream, three zeros, and the length,
//! big end first. With a terminal the bytes come as they are. Which of both it is says the
//! container's configuration, never the bytes: a container prints whatever it likes.
//!
//! Pure: bytes in, pieces out, however the input is cut. Nothing is copied and nothing kept but
//! the header.

use bytes::{Buf, Bytes};

/// Where a piece comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output, and everything that a terminal shows.
    Stdout,
    /// Standard error.
    Stderr,
    /// The engine itself: why it cannot go on.
    Engine,
}

/// Bytes of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where they come from.
    pub source: Source,
    /// The bytes.
    pub bytes: Bytes,
    /// They end their message.
    pub ends: bool,
}

/// The engine sent something that is no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The first byte names no stream, or the padding is not zero.
    #[error("a frame begins with {0:02x?}, which names no stream")]
    Header([u8; 8]),
    /// The length is beyond anything that an engine sends.
    #[error("a frame says that it has {0} bytes, more than {MAX_FRAME}")]
    Length(usize),
    /// The connection ended within a frame.
    #[error("the stream ended within a frame")]
    Cut,
}

/// The longest frame that is believed. Engines send at most 16 KiB of a log line with its
/// attributes, and 32 KiB of an exec's output.
pub const MAX_FRAME: usize = 16 << 20;

/// Takes frames apart.
#[derive(Debug)]
pub enum Decoder {
    /// Without a terminal.
    Multiplexed(Demultiplexer),
    /// With a terminal.
    Raw,
}

impl Decoder {
    /// The decoder for a container or an exec with or without a terminal.
    pub fn new(tty: bool) -> Self {
        if tty {
            Self::Raw
        } else {
            Self::Multiplexed(Demultiplexer::default())
        }
    }

    /// Takes the next piece off the front of `input`; none when it is used up. An empty message
    /// is an empty piece.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, FramingError> {
        match self {
            Self::Multiplexed(frames) => frames.next(input),
            Self::Raw if input.is_empty() => Ok(None),
            Self::Raw => Ok(Some(Piece {
                source: Source::Stdout,
                bytes: std::mem::take(input),
                ends: false,
            })),
        }
    }

    /// Whether the input may end here.
    pub fn finish(&self) -> Result<(), FramingError> {
        match self {
            Self::Multiplexed(frames) if frames.left > 0 || frames.filled > 0 => {
                Err(FramingError::Cut)
            }
            Self::Multiplexed(_) | Self::Raw => Ok(()),
        }
    }
}

/// Where in a frame the input is.
#[derive(Debug)]
pub struct Demultiplexer {
    header: [u8; 8],
    filled: usize,
    source: Source,
    left: usize,
}

impl Default for Demultiplexer {
    fn default() -> Self {
        Self {
            header: [0; 8],
            filled: 0,
            source: Source::Stdout,
            left: 0,
        }
    }
}

impl Demultiplexer {
    fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, FramingError> {
        if self.left == 0 {
            match (self.filled, input.first_chunk::<8>()) {
                (0, Some(whole)) => {
                    self.header = *whole;
                    input.advance(8);
                }
                _ => {
                    while self.filled < 8 {
                        let Some(byte) = input.first() else {
                            return Ok(None);
                        };
                        if let Some(place) = self.header.get_mut(self.filled) {
                            *place = *byte;
                        }
                        self.filled += 1;
                        input.advance(1);
                    }
                }
            }
            self.filled = 0;
            self.begin()?;
            if self.left == 0 {
                return Ok(Some(self.piece(Bytes::new())));
            }
        }
        if input.is_empty() {
            return Ok(None);
        }
        let bytes = input.split_to(self.left.min(input.len()));
        self.left -= bytes.len();
        Ok(Some(self.piece(bytes)))
    }

    fn begin(&mut self) -> Result<(), FramingError> {
        let [stream, zeros @ .., a, b, c, d] = self.header;
        self.source = match (stream, zeros) {
            // 0 is standard input, which engines of old echoed on standard output.
            (0 | 1, [0, 0, 0]) => Source::Stdout,
            (2, [0, 0, 0]) => Source::Stderr,
            (3, [0, 0, 0]) => Source::Engine,
            _ => return Err(FramingError::Header(self.header)),
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > MAX_FRAME {
            return Err(FramingError::Length(length));
        }
        self.left = length;
        Ok(())
    }

    fn piece(&self, bytes: Bytes) -> Piece {
        Piece {
            source: self.source,
            bytes,
            ends: self.left == 0,
        }
    }
}

#[cfg(test)]
#[path = "framing_test.rs"]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
