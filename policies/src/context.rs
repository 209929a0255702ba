//! Facts as Cedar's context, made of only what the policies at hand read.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use cedar_policy::{Context, RestrictedExpression};
use cedar_policy_core::ast::{self, Value};

use crate::clock::Clock;
use crate::facts::Facts;
use crate::lists::Lists;
use crate::model::ContextType;
use crate::needs::Needs;
use crate::world;

/// The context of a request. `all_headers` are those that any policy names. Values are made as they are: an expression would have
/// to be evaluated for each request.
pub(crate) fn context(
    facts: &Facts<'_>,
    clock: &Clock,
    all_headers: &[Arc<str>],
    lists: &Lists,
    needs: &Needs,
) -> Context {
    let headers = if needs.all_headers { all_headers } else { &needs.headers };
    let mut values = BTreeMap::new();
    for (name, of_type, is_required) in needs.context() {
        let value = match of_type {
            ContextType::Text => {
                let value = text(facts, name);
                (*is_required || !value.is_empty()).then(|| Value::from(value))
            }
            ContextType::Bool => Some(Value::from(facts.is_mtls)),
            ContextType::Time => evaluated(RestrictedExpression::new_datetime(rfc3339(clock.wall_us()))),
            ContextType::Address => facts.source_address.and_then(|address| address_value(address.to_canonical())),
            ContextType::User => {
                (!facts.user.is_empty()).then(|| Value::from(ast::EntityUID::from(world::user(facts.user))))
            }
            ContextType::Headers => Some(header_record(facts, headers)),
            ContextType::Lists => {
                let mut on = Vec::new();
                needs.on_lists(lists, facts, |list| on.push(Value::from(&**list)));
                Some(Value::set(on, None))
            }
            ContextType::Claims => None,
        };
        values.extend(value.map(|value| ((*name).into(), value)));
    }
    ast::Context::Value(Arc::new(values)).into()
}

/// Most addresses that a thread remembers the values of.
const ADDRESSES_MAX: usize = 1_024;

/// An address as Cedar has it. To make one takes longer than to ask a policy, and the same few callers come again and again.
fn address_value(address: IpAddr) -> Option<Value> {
    thread_local! {
        static KNOWN: RefCell<HashMap<IpAddr, Value>> = RefCell::default();
    }
    if let Some(value) = KNOWN.with_borrow(|known| known.get(&address).cloned()) {
        return Some(value);
    }
    let value = evaluated(RestrictedExpression::new_ip(address.to_string()))?;
    KNOWN.with_borrow_mut(|known| {
        if known.len() >= ADDRESSES_MAX {
            known.clear();
        }
        known.insert(address, value.clone());
    });
    Some(value)
}

/// The value of an expression with an extension's function. Were there none, policies that read it would fail, which is the safe side.
fn evaluated(expression: RestrictedExpression) -> Option<Value> {
    let context = Context::from_pairs([("value".to_owned(), expression)]).ok()?;
    match context.as_ref() {
        ast::Context::Value(values) => values.values().next().cloned(),
        ast::Context::RestrictedResidual(_) => None,
    }
}

/// The value of an attribute that is text.
pub(crate) fn text<'a>(facts: &Facts<'a>, name: &str) -> &'a str {
    match name {
        "method" => facts.method,
        "path" => facts.path,
        "host" => facts.host,
        "route" => facts.route,
        "scheme" => facts.scheme,
        "protocol" => facts.protocol,
        "user_agent" => facts.user_agent,
        _ => "",
    }
}

fn header_record(facts: &Facts<'_>, headers: &[Arc<str>]) -> Value {
    let fields = headers.iter().filter_map(|name| Some((&**name, header(facts, name)?)));
    Value::record(fields, None)
}

/// The value of a header; the first one if it is there more than once.
pub(crate) fn header<'a>(facts: &Facts<'a>, name: &str) -> Option<&'a str> {
    facts.headers.iter().find(|(header, _)| **header == *name).map(|(_, value)| value.as_str())
}

/// `2026-01-02T03:04:05.678Z`. Calendar after Howard Hinnant, "chrono-compatible low-level date algorithms".
pub(crate) fn rfc3339(wall_us: i64) -> String {
    let ms = wall_us.div_euclid(1_000);
    let (days, ms_of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60);
    let (second, ms) = (ms_of_day / 1_000 % 60, ms_of_day % 1_000);
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", year.clamp(0, 9_999))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_time_as_cedar_reads_it() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_000_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_767_225_599_999_999), "2025-12-31T23:59:59.999Z");
    }
}
