//! Headers in which an intermediary says that it was there.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

/// Name of the header that joins the rows of one request.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Appends the caller's address to `X-Forwarded-For`, as one line.
///
/// What stood there came from outside and is passed on, but never believed: `source_address` is the connection's own.
pub fn append_forwarded_for(headers: &mut HeaderMap, address: IpAddr) {
    let before = headers.get_all(X_FORWARDED_FOR).iter();
    let mut line = before.filter_map(|line| line.to_str().ok()).collect::<Vec<_>>().join(", ");
    if !line.is_empty() {
        line.push_str(", ");
    }
    line.push_str(&address.to_canonical().to_string());
    if let Ok(line) = HeaderValue::from_str(&line) {
        headers.insert(X_FORWARDED_FOR, line);
    }
}

/// Appends `Via` (RFC 9110 section 7.6.3) with the version in which the request came.
pub fn append_via(headers: &mut HeaderMap, version: Version) {
    headers.append(
        header::VIA,
        HeaderValue::from_static(match version {
            Version::HTTP_2 => "2.0 tollgate",
            Version::HTTP_11 => "1.1 tollgate",
            _ => "1.0 tollgate",
        }),
    );
}

/// The request's `x-request-id`, or a new random one (UUID version 4) that is written into the headers.
///
/// An id that is repeated, longer than 128 bytes or not plain visible text is replaced: it would end up in logs and rows.
pub fn request_id(headers: &mut HeaderMap) -> HeaderValue {
    let mut ids = headers.get_all(X_REQUEST_ID).iter();
    match (ids.next(), ids.next()) {
        (Some(id), None) if is_plain(id.as_bytes()) => id.clone(),
        _ => {
            let id = new_request_id();
            headers.insert(X_REQUEST_ID, id.clone());
            id
        }
    }
}

fn is_plain(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.iter().all(u8::is_ascii_graphic)
}

fn new_request_id() -> HeaderValue {
    let bits = fastrand::u128(..) & !(0xF << 76 | 0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_appended_to_all_that_was_there() {
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_FOR, HeaderValue::from_static("10.0.0.1"));
        headers.append(X_FORWARDED_FOR, HeaderValue::from_static("10.0.0.2"));
        append_forwarded_for(&mut headers, "::ffff:127.0.0.1".parse().unwrap());
        let lines: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().collect();
        assert_eq!(lines, ["10.0.0.1, 10.0.0.2, 127.0.0.1"]);
    }

    #[test]
    fn a_good_request_id_is_kept_and_others_are_replaced() {
        let id = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(X_REQUEST_ID, HeaderValue::from_str(value).unwrap());
            }
            let id = request_id(&mut headers);
            assert_eq!(headers.get_all(X_REQUEST_ID).iter().collect::<Vec<_>>(), [&id]);
            id.to_str().unwrap().to_owned()
        };
        assert_eq!(id(&["abc-1"]), "abc-1");
        let long = "x".repeat(129);
        for replaced in [&[][..], &[""], &["a", "b"], &["a b"], &[&long]] {
            let id = id(replaced);
            assert_eq!(id.len(), 36, "{id}");
            assert_eq!(id.as_bytes()[14], b'4', "{id}");
            assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{id}");
        }
    }

    #[test]
    fn via_names_the_version_that_came() {
        let mut headers = HeaderMap::new();
        append_via(&mut headers, Version::HTTP_11);
        append_via(&mut headers, Version::HTTP_2);
        assert_eq!(headers.get_all(header::VIA).iter().collect::<Vec<_>>(), ["1.1 tollgate", "2.0 tollgate"]);
    }
}
