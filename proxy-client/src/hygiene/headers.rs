//! Headers that belong to one connection and are not passed on (RFC 9110 sections 7.6.1, 7.8 and 10.1.4).

use http::{HeaderMap, HeaderName, HeaderValue, header};

const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("http2-settings"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes what belongs to this connection only: the known headers, and every header that any `Connection` line names.
///
/// `TE: trailers` is kept, since trailers are passed on and gRPC insists on it; so is `Host`, whoever names it.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let takes_trailers = headers.get_all(header::TE).iter().any(|te| tokens(te).any(|token| is(token, "trailers")));
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Joins the lines that HTTP/2 may split `Cookie` into (RFC 9113 section 8.2.3): HTTP/1.1 knows only one.
pub fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
    if lines.len() < 2 {
        return;
    }
    let is_sensitive = lines.iter().any(|line| line.is_sensitive());
    let joined = lines.iter().map(|line| line.as_bytes()).collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(mut joined) = HeaderValue::from_bytes(&joined) {
        joined.set_sensitive(is_sensitive);
        headers.insert(header::COOKIE, joined);
    }
}

/// What a request wants to switch to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// Nothing, or something that a server may ignore (`h2c`): the header is stripped and the request served as it is.
    Ignorable,
    /// A WebSocket, which makes no sense without the switch: refused with 501.
    WebSocket,
}

/// Reads `Upgrade` before [`strip_hop_by_hop`] removes it.
#[must_use]
pub fn requested_upgrade(headers: &HeaderMap) -> Upgrade {
    let mut upgrades = headers.get_all(header::UPGRADE).iter();
    if upgrades.any(|upgrade| tokens(upgrade).any(|token| is(token, "websocket"))) {
        Upgrade::WebSocket
    } else {
        Upgrade::Ignorable
    }
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter();
    let names = lines.flat_map(tokens).filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok());
    names.filter(|name| name != header::HOST).collect()
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

fn is(token: &str, expected: &str) -> bool {
    let name = token.split_once([';', '/']).map_or(token, |(name, _)| name);
    name.trim().eq_ignore_ascii_case(expected)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn every_connection_line_is_obeyed() {
        let mut headers = map(&[
            ("connection", "close, X-One"),
            ("x-one", "1"),
            ("keep-alive", "5"),
            ("te", "gzip, trailers;q=0.5"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
            ("host", "a"),
            ("x-two", "2"),
        ]);
        headers.append(header::CONNECTION, HeaderValue::from_static("x-two , host,,"));
        strip_hop_by_hop(&mut headers);
        let mut kept: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        kept.sort_unstable();
        assert_eq!(kept, [("accept", "*/*"), ("host", "a"), ("te", "trailers")]);
    }

    #[test]
    fn cookies_become_one_line() {
        for (lines, expected) in
            [(&[][..], &[][..]), (&["a=1"], &["a=1"]), (&["a=1", "b=2; c=3", "d=4"], &["a=1; b=2; c=3; d=4"])]
        {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, HeaderValue::from_static(line));
            }
            join_cookies(&mut headers);
            assert_eq!(headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn only_a_websocket_is_not_ignorable() {
        assert_eq!(requested_upgrade(&map(&[("upgrade", "h2c")])), Upgrade::Ignorable);
        assert_eq!(requested_upgrade(&map(&[])), Upgrade::Ignorable);
        assert_eq!(requested_upgrade(&map(&[("upgrade", "foo, WebSocket/13")])), Upgrade::WebSocket);
    }

    proptest! {
        #[test]
        fn nothing_hop_by_hop_is_left(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4)) {
            let mut headers = map(&[("x-kept", "1"), ("transfer-encoding", "chunked")]);
            for line in &lines {
                if let Ok(line) = HeaderValue::from_bytes(line) {
                    headers.append(header::CONNECTION, line.clone());
                    headers.append(header::TE, line);
                }
            }
            strip_hop_by_hop(&mut headers);
            prop_assert!(!headers.contains_key(header::CONNECTION) && !headers.contains_key(header::TRANSFER_ENCODING));
            prop_assert!(headers.get(header::TE).is_none_or(|te| te == "trailers"));
        }
    }
}
