//! Which request headers are looked at: those that policies read, and those that the configuration wants in `labels`. No other header
//! is ever copied or recorded.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use tollgate_policies::InForce;

/// The headers that one worker looks at. Those of policies change with the policies.
pub(crate) struct WantedHeaders {
    recorded: Vec<(HeaderName, Arc<str>)>,
    read: RefCell<ReadByPolicies>,
}

#[derive(Default)]
struct ReadByPolicies {
    /// What the names were made of. It is kept so that no other list can come to stand at its address.
    list: Option<Arc<[Arc<str>]>>,
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

    /// Of the policies that will decide: those that came meanwhile may read others.
    pub(crate) fn collect(&self, policies: &InForce<'_>, headers: &HeaderMap) -> Collected {
        Collected { read: find(&self.read_by(policies), headers), labels: find(&self.recorded, headers) }
    }

    fn read_by(&self, policies: &InForce<'_>) -> Rc<[(HeaderName, Arc<str>)]> {
        let mut read = self.read.borrow_mut();
        let is_same = match (&read.list, policies.headers()) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            let name = |name: &Arc<str>| Some((name.parse().ok()?, Arc::clone(name)));
            let list = policies.headers().cloned();
            let names = list.iter().flat_map(|list| list.iter()).filter_map(name).collect();
            *read = ReadByPolicies { list, names };
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
    use tollgate_api::v1;
    use tollgate_attributes::Decision;
    use tollgate_policies::{Clock, Enforcer, Facts, Mode, SourceFile, Sources, compile};

    use super::*;

    fn snapshot(version: u64, access: &str) -> v1::Snapshot {
        let file = SourceFile { path: "access/test.cedar".to_owned(), text: access.to_owned() };
        let sources = Sources { access: vec![file], ..Sources::default() };
        let policies = Some(compile(&sources, &[], &Mode::default()).unwrap().to_proto());
        v1::Snapshot { version, whole: true, policies, ..v1::Snapshot::default() }
    }

    /// What a snapshot brings must not be decided by headers that were collected for the one before, nor the other way round.
    #[test]
    fn one_decision_reads_the_headers_of_the_policies_that_decide() {
        let enforcer = Enforcer::new(Clock::paused(0));
        let wanted = WantedHeaders::new(&[]);
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-bad"), HeaderValue::from_static("1"))]);
        let decide = |policies: &InForce<'_>| {
            let read = wanted.collect(policies, &headers).read;
            let verdict = policies.decide(&Facts { headers: &read, method: "GET", ..Facts::default() });
            (verdict.decision, verdict.snapshot)
        };
        assert_eq!(decide(&enforcer.in_force()), (Decision::Deny, 0));
        let permit = "permit (principal, action, resource);";
        enforcer.apply(&snapshot(1, permit)).unwrap();
        let begun = enforcer.in_force();
        assert_eq!(decide(&begun), (Decision::Allow, 1));
        let forbid = r#"forbid (principal, action, resource) when { context.headers has "x-bad" };"#;
        enforcer.apply(&snapshot(2, &format!("{permit}{forbid}"))).unwrap();
        assert_eq!(decide(&begun), (Decision::Allow, 1), "as it began");
        assert_eq!(decide(&enforcer.in_force()), (Decision::Deny, 2));
        // The same version again, as after a restart of the engine, with other policies.
        enforcer.apply(&snapshot(2, permit)).unwrap();
        assert_eq!(decide(&enforcer.in_force()), (Decision::Allow, 2));
        enforcer.apply(&snapshot(2, &format!("{permit}{forbid}"))).unwrap();
        assert_eq!(decide(&enforcer.in_force()), (Decision::Deny, 2));
    }

    /// A forbid is in force with every other snapshot: no verdict of one of those lets the request through.
    #[test]
    fn no_change_of_policies_lets_a_header_slip_through() {
        let enforcer = Enforcer::new(Clock::paused(0));
        let permit = "permit (principal, action, resource);";
        let forbid = r#"forbid (principal, action, resource) when { context.headers has "x-bad" };"#;
        let (open, shut) = (snapshot(1, permit), snapshot(2, &format!("{permit}{forbid}")));
        enforcer.apply(&open).unwrap();
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-bad"), HeaderValue::from_static("1"))]);
        std::thread::scope(|scope| {
            let changes = scope.spawn(|| {
                for snapshot in [&shut, &open].into_iter().cycle().take(400) {
                    enforcer.apply(snapshot).unwrap();
                }
            });
            let wanted = WantedHeaders::new(&[]);
            while !changes.is_finished() {
                let policies = enforcer.in_force();
                let read = wanted.collect(&policies, &headers).read;
                let verdict = policies.decide(&Facts { headers: &read, method: "GET", ..Facts::default() });
                assert_eq!(verdict.decision == Decision::Deny, verdict.snapshot == 2);
            }
        });
    }

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
