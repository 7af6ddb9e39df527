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

/// What each header counts beside its name and value, as in HTTP/2 (RFC 9113, section 6.5.2): an empty one is not free.
const OVERHEAD: usize = 32;
/// As many headers as calls usually have: room for them is made at once.
const USUAL: usize = 16;

/// Turns headers into frame fields.
pub(crate) fn to_frame(headers: &HeaderMap) -> Result<Vec<Header>, HeaderError> {
    let mut size = 0;
    headers
        .iter()
        .map(|(name, value)| {
            size += name.as_str().len() + value.len() + OVERHEAD;
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
    let mut map = HeaderMap::with_capacity(headers.len().min(USUAL));
    for Header { name, value } in headers {
        size += name.len() + value.len() + OVERHEAD;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_headers_is_taken_or_refused() {
        let header = |name: &str| Header {
            name: name.to_owned(),
            value: Bytes::new(),
        };
        let many = |count| vec![header("x"); count];
        assert_eq!(from_frame(many(400)).unwrap().len(), 400);
        for count in [1_000, 30_000, 400_000] {
            assert_eq!(from_frame(many(count)).unwrap_err(), HeaderError::TooLarge);
        }
        assert_eq!(
            from_frame(vec![header("")]).unwrap_err(),
            HeaderError::Invalid
        );
    }
}
