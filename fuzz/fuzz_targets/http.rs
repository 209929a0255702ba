//! The head of a request: what passes is in its normal form, and normalising it again changes nothing.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tollgate_proxy_client::hygiene;

fuzz_target!(|input: (&str, Vec<(&str, &[u8])>)| {
    let (path, fields) = input;
    if let Ok(normal) = hygiene::normal_path(path) {
        let again = hygiene::normal_path(&normal).map(std::borrow::Cow::into_owned);
        assert_eq!(again.as_deref(), Ok(normal.as_ref()));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in fields.into_iter().take(100) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let _ = hygiene::check_framing(&headers);
    let _ = hygiene::requested_upgrade(&headers);
    hygiene::join_cookies(&mut headers);
    hygiene::strip_hop_by_hop(&mut headers);
    let _ = hygiene::continue_trace(&mut headers);
    let _ = hygiene::request_id(&mut headers);
});
