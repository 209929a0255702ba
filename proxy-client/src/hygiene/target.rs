//! The target of a request: the host that it names and the path in its one normal form (RFC 9112 section 3.2, RFC 3986 section 6).

use std::borrow::Cow;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, Uri, Version, header};

use super::BadRequest;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Host and port in lower case; empty only for HTTP/1.0 without `Host`.
    pub host: String,
    /// Path in its normal form with the query as it came.
    pub path_and_query: PathAndQuery,
}

impl Target {
    /// Path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path_and_query.path()
    }
}

/// Reads host and path.
///
/// # Errors
/// CONNECT (501), a missing, repeated, contradicting or malformed host (400), and what [`normal_path`] refuses (400).
pub fn read_target(method: &Method, uri: &Uri, version: Version, headers: &HeaderMap) -> Result<Target, BadRequest> {
    if method == Method::CONNECT {
        return Err(BadRequest::not_implemented("CONNECT is not supported"));
    }
    let host = host(uri, version, headers)?;
    let Some(path_and_query) = uri.path_and_query() else {
        return Err(BadRequest::new("the request has no path"));
    };
    if path_and_query.path() == "*" {
        return match *method {
            Method::OPTIONS => Ok(Target { host, path_and_query: path_and_query.clone() }),
            _ => Err(BadRequest::new("`*` is a target for OPTIONS only")),
        };
    }
    let path_and_query = match normal_path(path_and_query.path())? {
        Cow::Borrowed(_) => path_and_query.clone(),
        Cow::Owned(path) => with_path(path, path_and_query.query())?,
    };
    Ok(Target { host, path_and_query })
}

/// The one form of a path that routing, policies and the upstream see.
///
/// - `//` becomes `/`; escaped unreserved characters (`%61`) and ``! $ & ' ( ) * + , : = @`` are unescaped, other escapes are
///   written in upper case, and bytes beyond ASCII are escaped: these spellings are equivalent, so they must not get past a policy about one of them.
/// - `.` and `..` segments, also escaped or with parameters (`..;x`), `%2f`, `%5c`, `%3b`, `\`, `#`, escaped control characters and broken
///   escapes are refused: servers disagree about what they mean.
///
/// # Errors
/// 400 for what is refused.
pub fn normal_path(path: &str) -> Result<Cow<'_, str>, BadRequest> {
    if !path.starts_with('/') {
        return Err(BadRequest::new("the path does not begin with `/`"));
    }
    let normal = if is_plain(path.as_bytes()) { Cow::Borrowed(path) } else { Cow::Owned(rewrite(path.as_bytes())?) };
    if normal.contains("/.") && normal.split('/').any(is_dot_segment) {
        return Err(BadRequest::new("the path has `.` or `..` segments"));
    }
    Ok(normal)
}

fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().all(|&byte| {
        let is_plain =
            byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b'#') && (byte != b'/' || previous != b'/');
        previous = byte;
        is_plain
    })
}

fn rewrite(path: &[u8]) -> Result<String, BadRequest> {
    let mut normal = String::with_capacity(path.len() + 8);
    let mut bytes = path.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let value = bytes.next().zip(bytes.next()).and_then(|(high, low)| Some(hex(high)? << 4 | hex(low)?));
                push_escaped(&mut normal, value.ok_or(BadRequest::new("the path has a broken `%` escape"))?)?;
            }
            b'\\' => return Err(BadRequest::new("the path has a backslash")),
            b'#' => return Err(BadRequest::new("the request target has a fragment")),
            b'/' if normal.ends_with('/') => {}
            _ if byte.is_ascii_graphic() => normal.push(char::from(byte)),
            _ if byte.is_ascii() => return Err(BadRequest::new("the path has a space or a control character")),
            _ => escape(&mut normal, byte),
        }
    }
    Ok(normal)
}

fn push_escaped(normal: &mut String, byte: u8) -> Result<(), BadRequest> {
    match byte {
        b'/' | b'\\' => Err(BadRequest::new("the path has an escaped slash or backslash")),
        _ if byte.is_ascii_control() => Err(BadRequest::new("the path has an escaped control character")),
        b';' => Err(BadRequest::new("the path has an escaped ;")),
        b'A'..=b'Z'
        | b'a'..=b'z'
        | b'0'..=b'9'
        | b'-'
        | b'.'
        | b'_'
        | b'~'
        | b'!'
        | b'$'
        | b'&'
        | b'\''
        | b'('
        | b')'
        | b'*'
        | b'+'
        | b','
        | b':'
        | b'='
        | b'@' => {
            normal.push(char::from(byte));
            Ok(())
        }
        _ => {
            escape(normal, byte);
            Ok(())
        }
    }
}

fn escape(normal: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    normal.push('%');
    for digit in [byte >> 4, byte & 15] {
        normal.push(char::from(DIGITS[usize::from(digit)]));
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn is_dot_segment(segment: &str) -> bool {
    let name = segment.split_once(';').map_or(segment, |(name, _)| name);
    matches!(name, "." | "..")
}

fn with_path(path: String, query: Option<&str>) -> Result<PathAndQuery, BadRequest> {
    let text = match query {
        Some(query) => path + "?" + query,
        None => path,
    };
    PathAndQuery::try_from(text).map_err(|_| BadRequest::new("the request target is malformed"))
}

fn host(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<String, BadRequest> {
    let mut lines = headers.get_all(header::HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(BadRequest::new("the `Host` header is repeated"));
    }
    let named = line.map(|line| Authority::try_from(line.as_bytes())).transpose();
    let named = named.map_err(|_| BadRequest::new("the `Host` header is malformed"))?;
    let authority = match (uri.authority(), &named) {
        // RFC 9112 section 3.2.2: the absolute form replaces `Host`, which HTTP/1.1 nevertheless has to send.
        (Some(_), None) if version == Version::HTTP_11 => return Err(BadRequest::new("the `Host` header is missing")),
        // RFC 9113 section 8.3.1.
        (Some(authority), Some(named)) if version == Version::HTTP_2 && authority != named => {
            return Err(BadRequest::new("`:authority` and `Host` differ"));
        }
        (Some(authority), _) => authority,
        (None, Some(named)) => named,
        (None, None) if version <= Version::HTTP_10 => return Ok(String::new()),
        (None, None) => return Err(BadRequest::new("the `Host` header is missing")),
    };
    check_authority(authority)?;
    Ok(authority.as_str().to_ascii_lowercase())
}

fn check_authority(authority: &Authority) -> Result<(), BadRequest> {
    let text = authority.as_str();
    let port = text.strip_prefix(authority.host());
    let is_valid = match port {
        _ if authority.host().is_empty() => false,
        Some("") => true,
        Some(port) => port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()),
        // Something stands before the host: user and password.
        None => false,
    };
    if is_valid { Ok(()) } else { Err(BadRequest::new("the host is malformed")) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_have_one_form() {
        for (path, expected) in [
            ("/", "/"),
            ("/items/1", "/items/1"),
            ("/a//b///c", "/a/b/c"),
            ("//", "/"),
            ("/%61dmin", "/admin"),
            ("/a%2db%7e", "/a-b~"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/a;v=1/.well-known/..x", "/a;v=1/.well-known/..x"),
            ("/100%25", "/100%25"),
            ("/%21%24%26%27%28%29%2A%2b%2C%3a%3D%40", "/!$&'()*+,:=@"),
            ("/a%3Fb%5B", "/a%3Fb%5B"),
        ] {
            assert_eq!(normal_path(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for path in [
            "",
            "a",
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/%2e%2e/b",
            "/.%2E/b",
            "/a/..;x/b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5Cb",
            "/a%3bx",
            "/..%3Bx/b",
            "/a\\b",
            "/a#b",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%00",
            "/a%0d%0ab",
            "//../a",
        ] {
            assert!(normal_path(path).is_err(), "{path}");
        }
    }

    fn read(method: Method, uri: &str, version: Version, hosts: &[&str]) -> Result<(String, String), &'static str> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        let target = read_target(&method, &uri.parse().unwrap(), version, &headers);
        target.map(|target| (target.host, target.path_and_query.to_string())).map_err(|error| error.detail)
    }

    #[test]
    fn the_host_is_read_once_and_only_once() {
        let (v10, v11, v2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        let ok = |host: &str, path: &str| Ok((host.to_owned(), path.to_owned()));
        for (uri, version, hosts, expected) in [
            ("/a//b?x=//", v11, &["Shop:80"][..], ok("shop:80", "/a/b?x=//")),
            ("/", v11, &["[::1]:80"], ok("[::1]:80", "/")),
            ("http://real/x", v11, &["other"], ok("real", "/x")),
            ("http://real", v11, &["other"], ok("real", "/")),
            ("http://real/x", v11, &[], Err("the `Host` header is missing")),
            ("/", v11, &[], Err("the `Host` header is missing")),
            ("/", v10, &[], ok("", "/")),
            ("/", v11, &["a", "a"], Err("the `Host` header is repeated")),
            ("/", v11, &["a b"], Err("the `Host` header is malformed")),
            ("/", v11, &["user@a"], Err("the host is malformed")),
            ("/", v11, &["a:x"], Err("the host is malformed")),
            ("/", v11, &["a:99999"], Err("the host is malformed")),
            ("http://a/", v2, &["b"], Err("`:authority` and `Host` differ")),
            ("http://a/", v2, &["A"], ok("a", "/")),
            ("*", v11, &["a"], Err("`*` is a target for OPTIONS only")),
        ] {
            assert_eq!(read(Method::GET, uri, version, hosts), expected, "{uri} {hosts:?}");
        }
        assert_eq!(read(Method::OPTIONS, "*", v11, &["a"]), ok("a", "*"));
        assert_eq!(read(Method::CONNECT, "a:80", v11, &["a:80"]), Err("CONNECT is not supported"));
    }

    proptest! {
        #[test]
        fn any_path_is_refused_or_has_a_stable_form(path in "/(\\PC|%[0-9a-fA-F]{2}|/|\\.){0,40}") {
            if let Ok(normal) = normal_path(&path) {
                prop_assert!(!normal.contains("//") && normal.is_ascii());
                let again = normal_path(&normal);
                prop_assert_eq!(again.as_deref(), Ok(&*normal));
            }
        }

        #[test]
        fn any_request_head_is_read_without_a_panic(path in prop::collection::vec(any::<u8>(), 0..60), host in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut headers = HeaderMap::new();
            if let Ok(host) = HeaderValue::from_bytes(&host) {
                headers.append(header::HOST, host);
            }
            if let Ok(uri) = Uri::try_from(path) {
                let _ = read_target(&Method::GET, &uri, Version::HTTP_11, &headers);
                let _ = read_target(&Method::OPTIONS, &uri, Version::HTTP_2, &headers);
            }
        }
    }
}
