//! W3C Trace Context: the caller's trace is continued with a span of our own, or a new trace begins.

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The caller may have recorded the trace; for a trace that begins here that is true, since the row is kept.
const SAMPLED: u8 = 1;

/// Which trace a request belongs to, and the span that this proxy made for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Trace id, never all zero.
    pub trace_id: [u8; 16],
    /// Span id, never all zero.
    pub span_id: [u8; 8],
    /// Trace flags.
    pub flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent` value. Versions after 00 are read as far as they are alike, as the specification asks.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (version, rest) = hex_field::<1>(value)?;
        let (trace_id, rest) = hex_field::<16>(rest.strip_prefix(b"-")?)?;
        let (span_id, rest) = hex_field::<8>(rest.strip_prefix(b"-")?)?;
        let (flags, rest) = hex_field::<1>(rest.strip_prefix(b"-")?)?;
        let ends_well = match version {
            [0xff] => false,
            [0] => rest.is_empty(),
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let is_valid = ends_well && trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id, span_id, flags: flags[0] })
    }

    fn begin() -> Self {
        Self { trace_id: fastrand::u128(1..).to_be_bytes(), span_id: new_span_id(), flags: SAMPLED }
    }

    fn header(&self) -> Option<HeaderValue> {
        let Self { trace_id, span_id, flags } = self;
        let (trace_id, span_id) = (u128::from_be_bytes(*trace_id), u64::from_be_bytes(*span_id));
        HeaderValue::from_str(&format!("00-{trace_id:032x}-{span_id:016x}-{flags:02x}")).ok()
    }
}

/// Continues the trace of the headers with a new span, or begins one; writes `traceparent`. A `tracestate` without a valid
/// `traceparent` is meaningless and removed.
pub fn continue_trace(headers: &mut HeaderMap) -> TraceContext {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let parent = match (parents.next(), parents.next()) {
        (Some(parent), None) => TraceContext::parse(parent.as_bytes()),
        _ => None,
    };
    let trace = match parent {
        Some(parent) => TraceContext { span_id: new_span_id(), ..parent },
        None => {
            headers.remove(TRACESTATE);
            TraceContext::begin()
        }
    };
    if let Some(value) = trace.header() {
        headers.insert(TRACEPARENT, value);
    }
    trace
}

fn new_span_id() -> [u8; 8] {
    fastrand::u64(1..).to_be_bytes()
}

/// Reads `N` bytes written as lower-case hex, and returns what follows.
fn hex_field<const N: usize>(text: &[u8]) -> Option<([u8; N], &[u8])> {
    let (field, rest) = text.split_at_checked(2 * N)?;
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(field.chunks_exact(2)) {
        let &[high, low] = digits else { return None };
        *byte = nibble(high)? << 4 | nibble(low)?;
    }
    Some((bytes, rest))
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03";

    fn continued(parents: &[&str]) -> (TraceContext, HeaderMap) {
        let mut headers = HeaderMap::new();
        headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
        for parent in parents {
            headers.append(TRACEPARENT, HeaderValue::from_str(parent).unwrap());
        }
        (continue_trace(&mut headers), headers)
    }

    #[test]
    fn a_trace_is_continued_with_a_span_of_its_own() {
        let (trace, headers) = continued(&[PARENT]);
        let parent = TraceContext::parse(PARENT.as_bytes()).unwrap();
        assert_eq!((trace.trace_id, trace.flags), (parent.trace_id, 3));
        assert_ne!(trace.span_id, parent.span_id);
        assert_eq!(TraceContext::parse(headers[TRACEPARENT].as_bytes()), Some(trace));
        assert_eq!(headers[TRACESTATE], "a=b");
    }

    #[test]
    fn a_bad_parent_begins_a_new_trace() {
        for parents in [
            &[][..],
            &[PARENT, PARENT],
            &["00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-00000000000000000000000000000000-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"],
            &["ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"],
            &["nonsense"],
        ] {
            let (trace, headers) = continued(parents);
            assert_ne!(trace.trace_id, TraceContext::parse(PARENT.as_bytes()).unwrap().trace_id, "{parents:?}");
            assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
            assert!(!headers.contains_key(TRACESTATE));
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes";
        assert!(TraceContext::parse(later.as_bytes()).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceContext::parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read_back(trace_id in 1u128.., span_id in 1u64.., flags: u8) {
            let trace = TraceContext { trace_id: trace_id.to_be_bytes(), span_id: span_id.to_be_bytes(), flags };
            prop_assert_eq!(TraceContext::parse(trace.header().unwrap().as_bytes()), Some(trace));
        }
    }
}
