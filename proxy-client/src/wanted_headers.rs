//! Which request headers are looked at: those that policies read, and those that the configuration wants in `labels`. No other header
//! is ever copied or recorded.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use tollgate_policies::Enforcer;

/// The headers that one worker looks at. Those of policies change with the snapshot.
pub(crate) struct WantedHeaders {
    recorded: Vec<(HeaderName, Arc<str>)>,
    read: RefCell<ReadByPolicies>,
}

#[derive(Default)]
struct ReadByPolicies {
    snapshot: u64,
    names: Rc<[(HeaderName, Arc<str>)]>,
}

/// What was found in one request.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// For policies.
    pub(crate) read: Vec<(Arc<str>, String)>,
    /// For the row.
    pub(crate) labels: Vec<(Arc<str>, String)>,
}

impl WantedHeaders {
    pub(crate) fn new(recorded: &[HeaderName]) -> Self {
        let recorded = recorded.iter().map(|name| (name.clone(), Arc::from(name.as_str()))).collect();
        Self { recorded, read: RefCell::default() }
    }

    pub(crate) fn collect(&self, enforcer: &Enforcer, headers: &HeaderMap) -> Collected {
        Collected { read: find(&self.read_by(enforcer), headers), labels: find(&self.recorded, headers) }
    }

    fn read_by(&self, enforcer: &Enforcer) -> Rc<[(HeaderName, Arc<str>)]> {
        let mut read = self.read.borrow_mut();
        let snapshot = enforcer.version();
        if read.snapshot != snapshot {
            let name = |name: &Arc<str>| Some((name.parse().ok()?, Arc::clone(name)));
            *read = ReadByPolicies { snapshot, names: enforcer.headers().iter().filter_map(name).collect() };
        }
        Rc::clone(&read.names)
    }
}

/// The value of a header, if it is there; several lines of one header are one value (RFC 9110 section 5.3).
pub(crate) fn value(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// The values of those that are there.
fn find(wanted: &[(HeaderName, Arc<str>)], headers: &HeaderMap) -> Vec<(Arc<str>, String)> {
    wanted.iter().filter_map(|(name, text)| Some((Arc::clone(text), value(headers, name)?))).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn bytes_beyond_ascii_hide_no_value() {
        let mut headers = HeaderMap::new();
        for line in [&b"bot\xff/1"[..], b"b"] {
            headers.append(http::header::USER_AGENT, HeaderValue::from_bytes(line).unwrap());
        }
        assert_eq!(value(&headers, &http::header::USER_AGENT).as_deref(), Some("bot\u{fffd}/1, b"));
    }

    #[test]
    fn only_wanted_headers_are_found_and_lines_are_joined() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-tenant", "a"), ("x-tenant", "b"), ("cookie", "secret")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let wanted = WantedHeaders::new(&["x-tenant", "x-absent"].map(HeaderName::from_static));
        let found = find(&wanted.recorded, &headers);
        assert_eq!(found, [(Arc::from("x-tenant"), "a, b".to_owned())]);
    }
}
