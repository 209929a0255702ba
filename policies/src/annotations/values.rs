//! The values of annotations: one small parser each.

use std::sync::Arc;
use std::time::Duration;

use tollgate_attributes::Priority;

use crate::diagnostics::nearest;
use crate::shaping::{ByKey, Concurrency, Cost, CostAttribute, Offline};

/// Largest number of tokens in a limit or burst. In microtokens it leaves room for sums in 64 bits.
const TOKENS_MAX: u64 = 1_000_000_000;
/// Most values that one bucket counts by.
const BY_MAX: usize = 8;

const UNITS: &[(&str, u64)] = &[
    ("s", 1),
    ("sec", 1),
    ("second", 1),
    ("m", 60),
    ("min", 60),
    ("minute", 60),
    ("h", 3_600),
    ("hour", 3_600),
    ("d", 86_400),
    ("day", 86_400),
];

/// A value that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadValue {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl BadValue {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    pub(crate) fn unknown(kind: &str, written: &str, known: &[&str]) -> Self {
        let help = match nearest(written, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("use {}", known.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ")),
        };
        Self::new(format!("unknown {kind} `{written}`")).help(help)
    }
}

/// `100/s`: tokens, and the window in seconds.
pub(crate) fn limit(text: &str) -> Result<(u64, u64), BadValue> {
    let Some((amount, unit)) = text.split_once('/') else {
        return Err(BadValue::new(format!("`{text}` is not a rate"))
            .help("write a number and a unit, such as `100/s`, `6000/m`, `20/h` or `500/d`"));
    };
    let unit = unit.trim();
    let Some((_, window_s)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(BadValue::unknown("unit", unit, &["s", "m", "h", "d"]));
    };
    Ok((count(amount.trim())?, *window_s))
}

/// A number of tokens, at least 1.
pub(crate) fn count(text: &str) -> Result<u64, BadValue> {
    let digits = text.replace('_', "");
    match digits.parse::<u64>() {
        Ok(number @ 1..=TOKENS_MAX) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => Err(BadValue::new(format!("`{text}` is not a number from 1 to {TOKENS_MAX}"))),
    }
}

/// `250ms`, `2s`, `1m`.
pub(crate) fn duration(text: &str, max: Duration) -> Result<Duration, BadValue> {
    let bad = || BadValue::new(format!("`{text}` is not a duration")).help("write `250ms`, `2s` or `1m`");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let number: u32 = text[..digits].parse().map_err(|_| bad())?;
    let duration = match &text[digits..] {
        "ms" => Duration::from_millis(number.into()),
        "s" => Duration::from_secs(number.into()),
        "m" => Duration::from_secs(u64::from(number) * 60),
        _ => return Err(bad()),
    };
    if duration.is_zero() || duration > max {
        return Err(BadValue::new(format!("`{text}` is not between 1ms and {}s", max.as_secs())));
    }
    Ok(duration)
}

pub(crate) fn priority(text: &str) -> Result<Priority, BadValue> {
    let known: Vec<_> = Priority::ALL.iter().map(|priority| priority.as_str()).collect();
    text.parse().map_err(|_| BadValue::unknown("priority", text, &known))
}

pub(crate) fn offline(text: &str) -> Result<Offline, BadValue> {
    match text {
        "safe" => Ok(Offline::Safe),
        "allow" => Ok(Offline::Allow),
        "deny" => Ok(Offline::Deny),
        _ => Err(BadValue::unknown("choice", text, &["safe", "allow", "deny"])),
    }
}

pub(crate) fn concurrency(text: &str) -> Result<Concurrency, BadValue> {
    if text == "adaptive" {
        return Ok(Concurrency::Adaptive);
    }
    match text.parse::<u32>() {
        Ok(number @ 1..=1_000_000) => Ok(Concurrency::Fixed(number)),
        _ => Err(BadValue::new(format!("`{text}` is neither a number from 1 to 1000000 nor `adaptive`"))),
    }
}

pub(crate) fn cost(text: &str) -> Result<Cost, BadValue> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return match text.parse::<u32>() {
            Ok(number @ 1..=1_000_000) => Ok(Cost::Tokens(number)),
            _ => Err(BadValue::new(format!("`{text}` is not a number from 1 to 1000000"))),
        };
    }
    let attribute = match text.split_once('.') {
        None if text == "request_bytes" => CostAttribute::RequestBytes,
        Some(("principal", name)) if !name.is_empty() => CostAttribute::Principal(Arc::from(name)),
        Some(("resource", name)) if !name.is_empty() => CostAttribute::Resource(Arc::from(name)),
        _ => {
            return Err(BadValue::new(format!("`{text}` is not a cost")).help(
                "write a number, `request_bytes`, or an integer attribute from entities.json, such as `principal.weight`",
            ));
        }
    };
    Ok(Cost::Attribute(attribute))
}

/// `principal, context.route, context.headers["x-tenant"]`.
pub(crate) fn by(text: &str) -> Result<Vec<ByKey>, BadValue> {
    let keys = text.split(',').map(|part| key(part.trim())).collect::<Result<Vec<_>, _>>()?;
    if let Some((index, key)) = keys.iter().enumerate().find(|(index, key)| keys[..*index].contains(key)) {
        return Err(BadValue::new(format!("`{key}` is named twice, the second time in place {}", index + 1)));
    }
    if keys.len() > BY_MAX {
        return Err(BadValue::new(format!("{} values, at most {BY_MAX} are allowed", keys.len())));
    }
    Ok(keys)
}

fn key(text: &str) -> Result<ByKey, BadValue> {
    const PLAIN: &[ByKey] = &[
        ByKey::Principal,
        ByKey::Resource,
        ByKey::Method,
        ByKey::Path,
        ByKey::Host,
        ByKey::Route,
        ByKey::Scheme,
        ByKey::Protocol,
        ByKey::UserAgent,
        ByKey::SourceAddress,
        ByKey::User,
    ];
    if let Some(header) = text.strip_prefix("context.headers") {
        let quoted = header.strip_prefix("[\"").and_then(|rest| rest.strip_suffix("\"]"));
        let name = quoted.or_else(|| header.strip_prefix('.')).unwrap_or_default();
        return if crate::model::is_header_name(name) {
            Ok(ByKey::Header(Arc::from(name)))
        } else {
            Err(BadValue::new(format!("`{text}` is not a header"))
                .help("write `context.headers[\"x-tenant\"]`, with the name in lower case"))
        };
    }
    PLAIN.iter().find(|key| key.to_string() == text).cloned().ok_or_else(|| {
        let known: Vec<_> = PLAIN.iter().map(ToString::to_string).collect();
        BadValue::unknown("value to count by", text, &known.iter().map(String::as_str).collect::<Vec<_>>())
    })
}
