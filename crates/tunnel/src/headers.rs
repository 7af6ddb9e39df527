//! HTTP headers to and from frames, within the limit on their size.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{MAX_HEADERS, proto::Header};

/// Why headers were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("the headers are larger than 16 KiB")]
    TooLarge,
    #[error("a header has a name or a value that HTTP does not allow")]
    Invalid,
}

/// Turns headers into frame fields.
pub(crate) fn to_frame(headers: &HeaderMap) -> Result<Vec<Header>, HeaderError> {
    let mut size = 0;
    headers
        .iter()
        .map(|(name, value)| {
            size += name.as_str().len() + value.len();
            if size > MAX_HEADERS {
                return Err(HeaderError::TooLarge);
            }
            Ok(Header {
                name: name.as_str().to_owned(),
                value: Bytes::copy_from_slice(value.as_bytes()),
            })
        })
        .collect()
}

/// Turns frame fields into headers.
pub(crate) fn from_frame(headers: Vec<Header>) -> Result<HeaderMap, HeaderError> {
    let mut size = 0;
    let mut map = HeaderMap::with_capacity(headers.len());
    for Header { name, value } in headers {
        size += name.len() + value.len();
        if size > MAX_HEADERS {
            return Err(HeaderError::TooLarge);
        }
        let name = HeaderName::try_from(name).map_err(|_| HeaderError::Invalid)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| HeaderError::Invalid)?;
        map.try_append(name, value)
            .map_err(|_| HeaderError::TooLarge)?;
    }
    Ok(map)
}
