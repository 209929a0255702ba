//! Settings that clients read and write. They are remembered for the connection, and change nothing but how values look.

use std::collections::HashMap;
use std::time::Duration;

/// The release of PostgreSQL whose catalog and answers clients find here.
pub(super) const SERVER_VERSION: &str = "15.6";

/// Whether a client may change a setting, and whether it is told of it when it connects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Fixed,
    FixedReported,
    Free,
    FreeReported,
}

use Rule::{Fixed, FixedReported, Free, FreeReported};

/// Name, value where none is given, and rule. Times stay in UTC, whatever zone a client asks for.
const SETTINGS: &[(&str, &str, Rule)] = &[
    ("application_name", "", FreeReported),
    ("bytea_output", "hex", Free),
    ("client_encoding", "UTF8", FixedReported),
    ("client_min_messages", "notice", Free),
    ("DateStyle", "ISO, MDY", FixedReported),
    ("default_table_access_method", "heap", Fixed),
    ("default_tablespace", "", Free),
    ("default_transaction_isolation", "read committed", Free),
    ("default_transaction_read_only", "on", FixedReported),
    ("extra_float_digits", "1", Free),
    ("idle_in_transaction_session_timeout", "0", Free),
    ("in_hot_standby", "off", FixedReported),
    ("integer_datetimes", "on", FixedReported),
    ("IntervalStyle", "postgres", FreeReported),
    ("is_superuser", "off", FixedReported),
    ("jit", "off", Free),
    ("lock_timeout", "0", Free),
    ("max_identifier_length", "63", Fixed),
    ("row_security", "off", Free),
    ("search_path", "\"$user\", public", Free),
    ("server_encoding", "UTF8", FixedReported),
    ("server_version", SERVER_VERSION, FixedReported),
    ("server_version_num", "150006", Fixed),
    ("standard_conforming_strings", "on", FixedReported),
    ("statement_timeout", "0", Free),
    ("TimeZone", "UTC", FixedReported),
    ("transaction_isolation", "read committed", Fixed),
    ("transaction_read_only", "on", Fixed),
    ("xmloption", "content", Free),
];

fn find(name: &str) -> Option<&'static (&'static str, &'static str, Rule)> {
    SETTINGS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))
}

/// Settings that a client is told of when it connects, with their values.
pub(super) fn reported() -> impl Iterator<Item = (&'static str, &'static str)> {
    SETTINGS
        .iter()
        .filter(|(.., rule)| matches!(rule, FixedReported | FreeReported))
        .map(|(name, default, _)| (*name, *default))
}

/// Whether a client may change it.
pub(super) fn is_free(name: &str) -> bool {
    find(name).is_some_and(|(.., rule)| matches!(rule, Free | FreeReported))
}

/// All settings with their values on this connection.
pub(super) fn all(metadata: &HashMap<String, String>) -> Vec<(String, String)> {
    SETTINGS.iter().map(|(name, ..)| ((*name).to_owned(), get(metadata, name).unwrap_or_default())).collect()
}

/// The value on this connection, or nothing where there is no such setting.
pub(super) fn get(metadata: &HashMap<String, String>, name: &str) -> Option<String> {
    let (known, default, rule) = find(name)?;
    let given = metadata.get(&known.to_ascii_lowercase()).filter(|_| matches!(rule, Free | FreeReported));
    Some(given.map_or_else(|| (*default).to_owned(), Clone::clone))
}

/// What came of setting a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It holds from now on; a client is to be told where there is a name.
    Taken(Option<&'static str>),
    /// It stays as it is.
    Kept,
    /// There is no such setting.
    Unknown,
}

/// Sets a value for this connection; none brings back the first one.
pub(super) fn set(metadata: &mut HashMap<String, String>, name: &str, value: Option<String>) -> Outcome {
    let Some((known, default, rule)) = find(name) else { return Outcome::Unknown };
    let key = known.to_ascii_lowercase();
    match (rule, value) {
        (Fixed | FixedReported, value) => match value.is_none_or(|value| value.eq_ignore_ascii_case(default)) {
            true => Outcome::Taken(None),
            false => Outcome::Kept,
        },
        (Free | FreeReported, Some(value)) => {
            metadata.insert(key, value);
            Outcome::Taken((*rule == FreeReported).then_some(known))
        }
        (Free | FreeReported, None) => {
            metadata.remove(&key);
            Outcome::Taken((*rule == FreeReported).then_some(known))
        }
    }
}

/// Forgets everything that was set.
pub(super) fn reset(metadata: &mut HashMap<String, String>) {
    metadata.retain(|key, _| !is_free(key));
}

/// Takes over what the client said when it connected, under the names that settings are kept by.
pub(super) fn at_startup(metadata: &mut HashMap<String, String>) {
    let given: Vec<(String, String)> = metadata
        .iter()
        .filter(|(name, _)| is_free(name))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect();
    metadata.extend(given);
}

/// How long a query of this connection may take, where the client set a limit.
pub(super) fn statement_timeout(metadata: &HashMap<String, String>) -> Option<Duration> {
    let text = metadata.get("statement_timeout")?;
    let digits = text.trim().find(|c: char| !c.is_ascii_digit()).unwrap_or(text.trim().len());
    let (number, unit) = text.trim().split_at(digits);
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let unit_ms = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.saturating_mul(unit_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_hold_for_the_connection_and_fixed_ones_stay() {
        let mut metadata = HashMap::new();
        assert_eq!(get(&metadata, "timezone").as_deref(), Some("UTC"));
        assert_eq!(set(&mut metadata, "TIMEZONE", Some("Europe/Paris".into())), Outcome::Kept);
        assert_eq!(set(&mut metadata, "application_name", Some("x".into())), Outcome::Taken(Some("application_name")));
        assert_eq!(get(&metadata, "Application_Name").as_deref(), Some("x"));
        assert_eq!(set(&mut metadata, "no_such", Some("x".into())), Outcome::Unknown);
        reset(&mut metadata);
        assert_eq!(get(&metadata, "application_name").as_deref(), Some(""));
    }

    #[test]
    fn statement_timeout_is_in_milliseconds_unless_it_says_otherwise() {
        let timeout = |text: &str| statement_timeout(&HashMap::from([("statement_timeout".into(), text.into())]));
        assert_eq!(timeout("250"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("2s"), Some(Duration::from_secs(2)));
        assert_eq!(timeout("1min"), Some(Duration::from_secs(60)));
        assert_eq!(timeout("0"), None);
        assert_eq!(timeout("soon"), None);
    }
}
