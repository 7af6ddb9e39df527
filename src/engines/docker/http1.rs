//! The heads and the chunks of HTTP/1.1 answers, taken apart where they lie.
//!
//! Pure: hyper hands every chunk through a channel, and an engine makes one chunk of every log
//! line; here a read of many chunks is many slices of one buffer.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The longest head that is believed.
pub(super) const MAX_HEAD: usize = 64 << 10;
/// The longest line before a chunk.
const MAX_CHUNK_LINE: usize = 256;

/// The engine does not speak HTTP/1.1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not HTTP/1.1: {0}")]
pub(super) struct HttpError(&'static str);

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
}

impl Head {
    /// Takes the head off the front of the buffer; none when it is not there whole yet.
    pub(super) fn take(buffer: &mut BytesMut) -> Result<Option<Self>, HttpError> {
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if buffer.len() > MAX_HEAD {
                Err(HttpError("the head is too long"))
            } else {
                Ok(None)
            };
        };
        let head = buffer.split_to(end);
        buffer.advance(4);
        let mut lines = head
            .as_ref()
            .split(|byte: &u8| *byte == b'\n')
            .map(<[u8]>::trim_ascii_end);
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix(b"HTTP/1."))
            .and_then(|line| std::str::from_utf8(line).ok())
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .ok_or(HttpError("the status line"))?;
        let mut headers = HeaderMap::new();
        for line in lines {
            let colon = line
                .iter()
                .position(|byte| *byte == b':')
                .ok_or(HttpError("a header without a colon"))?;
            let (name, value) = line.split_at(colon);
            let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
            headers.append(
                HeaderName::from_bytes(name).map_err(|_| HttpError("a header's name"))?,
                HeaderValue::from_bytes(value).map_err(|_| HttpError("a header's value"))?,
            );
        }
        Ok(Some(Self { status, headers }))
    }
}

/// How an answer's content is delimited.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delimiter {
    /// In chunks; so many bytes of the current one are left, its end of line included.
    Chunks { left: usize, state: Chunk },
    /// By its length.
    Length(u64),
    /// By the end of the connection.
    Close,
}

/// Where in the chunks the input is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Before a chunk's size.
    Size,
    /// In a chunk's content.
    Content,
    /// Before the end of line after a chunk.
    After,
    /// In the trailers.
    Trailers,
    /// After the last chunk.
    Ended,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Some of the content.
    Bytes(Bytes),
    /// Nothing without more input.
    More,
    /// The content is whole.
    End,
}

impl Delimiter {
    pub(super) fn of(head: &Head) -> Result<Self, HttpError> {
        if head.status == 101 {
            return Ok(Self::Close);
        }
        let text = |name| head.headers.get(name).map(HeaderValue::as_bytes);
        if text("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) {
            return Ok(Self::Chunks {
                left: 0,
                state: Chunk::Size,
            });
        }
        match text("content-length") {
            Some(length) => std::str::from_utf8(length)
                .ok()
                .and_then(|length| length.parse().ok())
                .map(Self::Length)
                .ok_or(HttpError("the content's length")),
            None if matches!(head.status, 204 | 304) => Ok(Self::Length(0)),
            None => Ok(Self::Close),
        }
    }

    /// Takes content off the front of the buffer.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Content, HttpError> {
        match self {
            Self::Close if buffer.is_empty() => Ok(Content::More),
            Self::Close => Ok(Content::Bytes(buffer.split().freeze())),
            Self::Length(0) => Ok(Content::End),
            Self::Length(_) if buffer.is_empty() => Ok(Content::More),
            Self::Length(left) => {
                let now =
                    usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                *left -= now as u64;
                Ok(Content::Bytes(buffer.split_to(now).freeze()))
            }
            Self::Chunks { left, state } => take_chunk(buffer, left, state),
        }
    }

    /// Whether the connection may end here.
    pub(super) fn may_end(&self) -> bool {
        match self {
            Self::Close | Self::Length(0) => true,
            Self::Length(_) => false,
            Self::Chunks { state, .. } => *state == Chunk::Ended,
        }
    }
}

fn take_chunk(
    buffer: &mut BytesMut,
    left: &mut usize,
    state: &mut Chunk,
) -> Result<Content, HttpError> {
    loop {
        match state {
            Chunk::Size => {
                let Some((size, line)) = chunk_size(buffer)? else {
                    return Ok(Content::More);
                };
                buffer.advance(line);
                *left = size;
                *state = if size == 0 {
                    Chunk::Trailers
                } else {
                    Chunk::Content
                };
            }
            Chunk::Content if buffer.is_empty() => return Ok(Content::More),
            Chunk::Content => {
                let now = (*left).min(buffer.len());
                let bytes = buffer.split_to(now).freeze();
                *left -= now;
                if *left == 0 {
                    *state = Chunk::After;
                }
                return Ok(Content::Bytes(bytes));
            }
            Chunk::After => match buffer.first_chunk::<2>() {
                None => return Ok(Content::More),
                Some(b"\r\n") => {
                    buffer.advance(2);
                    *state = Chunk::Size;
                }
                Some(_) => return Err(HttpError("no end of line after a chunk")),
            },
            Chunk::Trailers => {
                let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
                    return if buffer.len() > MAX_HEAD {
                        Err(HttpError("the trailers are too long"))
                    } else {
                        Ok(Content::More)
                    };
                };
                if buffer.split_to(end + 1).trim_ascii().is_empty() {
                    *state = Chunk::Ended;
                }
            }
            Chunk::Ended => return Ok(Content::End),
        }
    }
}

/// A chunk's size and the length of the line that says it; none when the line is not whole.
fn chunk_size(buffer: &[u8]) -> Result<Option<(usize, usize)>, HttpError> {
    let mut size: usize = 0;
    for (at, byte) in buffer.iter().enumerate() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' | b';' if at > 0 => {
                let Some(end) = buffer.iter().take(MAX_CHUNK_LINE).position(|b| *b == b'\n') else {
                    return if buffer.len() >= MAX_CHUNK_LINE {
                        Err(HttpError("a chunk's line is too long"))
                    } else {
                        Ok(None)
                    };
                };
                return Ok(Some((size, end + 1)));
            }
            _ => return Err(HttpError("a chunk's size")),
        };
        if size > usize::MAX >> 8 {
            return Err(HttpError("a chunk's size"));
        }
        size = size << 4 | usize::from(digit);
    }
    Ok(None)
}

#[cfg(test)]
#[path = "http1_test.rs"]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
