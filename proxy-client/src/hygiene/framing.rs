//! Where a message ends: what makes two parsers disagree is refused (RFC 9112 sections 6.1 and 6.3).
//!
//! hyper re-frames every message that it forwards, so none of this can smuggle a request past the proxy; the caller is told all the
//! same. One case is out of sight in HTTP/1.1: beside `Transfer-Encoding`, hyper drops `Content-Length` before we see it, and ends the
//! connection after the response, as RFC 9112 section 6.1 allows.

use http::{HeaderMap, header};

use super::BadRequest;

/// Refuses contradictions between `Content-Length` and `Transfer-Encoding`, and codings other than `chunked`.
///
/// # Errors
/// 400 for a contradiction, 501 for an unknown transfer coding.
pub fn check_framing(headers: &HeaderMap) -> Result<(), BadRequest> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if coding.is_some() && headers.contains_key(header::CONTENT_LENGTH) {
        return Err(BadRequest::new("`Content-Length` and `Transfer-Encoding` exclude each other"));
    }
    if codings.next().is_some() {
        return Err(BadRequest::new("`Transfer-Encoding` is repeated"));
    }
    match coding {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Err(BadRequest::not_implemented("the only transfer coding here is `chunked`"))
        }
        _ => check_length(headers),
    }
}

fn check_length(headers: &HeaderMap) -> Result<(), BadRequest> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(()) };
    let is_number = length
        .to_str()
        .is_ok_and(|length| length.bytes().all(|byte| byte.is_ascii_digit()) && length.parse::<u64>().is_ok());
    if !is_number || lengths.any(|other| other != length) {
        return Err(BadRequest::new("`Content-Length` is malformed"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn check(headers: &[(&str, &str)]) -> u16 {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect();
        check_framing(&headers).map_or_else(|error| error.status.as_u16(), |()| 200)
    }

    #[test]
    fn contradictions_are_refused() {
        for (headers, expected) in [
            (&[][..], 200),
            (&[("content-length", "12")], 200),
            (&[("transfer-encoding", "Chunked")], 200),
            (&[("transfer-encoding", "chunked"), ("content-length", "12")], 400),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], 400),
            (&[("transfer-encoding", "gzip, chunked")], 501),
            (&[("transfer-encoding", "identity")], 501),
            (&[("content-length", "1, 1")], 400),
            (&[("content-length", "+1")], 400),
            (&[("content-length", "99999999999999999999999")], 400),
        ] {
            assert_eq!(check(headers), expected, "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn any_values_are_checked_without_a_panic(length in prop::collection::vec(any::<u8>(), 0..30), coding in prop::collection::vec(any::<u8>(), 0..30)) {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::CONTENT_LENGTH, length), (header::TRANSFER_ENCODING, coding)] {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.append(name, value);
                }
            }
            let _ = check_framing(&headers);
        }
    }
}
