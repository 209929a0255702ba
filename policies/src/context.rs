//! Facts as Cedar's context, made of only what the policies at hand read.

use std::sync::Arc;

use cedar_policy::{Context, RestrictedExpression};

use crate::clock::Clock;
use crate::facts::Facts;
use crate::lists::Lists;
use crate::model::ContextType;
use crate::needs::Needs;
use crate::world;

/// The context of a request. `all_headers` are those that any policy names.
pub(crate) fn context(
    facts: &Facts<'_>,
    clock: &Clock,
    all_headers: &[Arc<str>],
    lists: &Lists,
    needs: &Needs,
) -> Context {
    let headers = if needs.all_headers { all_headers } else { &needs.headers };
    let pairs = needs.context().filter_map(|(name, of_type, is_required)| {
        let value = match of_type {
            ContextType::Text => {
                let value = text(facts, name);
                (*is_required || !value.is_empty()).then(|| RestrictedExpression::new_string(value.to_owned()))?
            }
            ContextType::Bool => RestrictedExpression::new_bool(facts.is_mtls),
            ContextType::Time => RestrictedExpression::new_datetime(rfc3339(clock.wall_us())),
            ContextType::Address => RestrictedExpression::new_ip(facts.source_address?.to_canonical().to_string()),
            ContextType::User if facts.user.is_empty() => return None,
            ContextType::User => RestrictedExpression::new_entity_uid(world::user(facts.user)),
            ContextType::Headers => header_record(facts, headers)?,
            ContextType::Lists => {
                let mut on = Vec::new();
                needs.on_lists(lists, facts, |list| on.push(RestrictedExpression::new_string(list.to_string())));
                RestrictedExpression::new_set(on)
            }
            ContextType::Claims => return None,
        };
        Some(((*name).to_owned(), value))
    });
    // Names are distinct and values are well-formed; were one not, policies that read it would fail, which is the safe side.
    Context::from_pairs(pairs).unwrap_or_else(|_| Context::empty())
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

fn header_record(facts: &Facts<'_>, headers: &[Arc<str>]) -> Option<RestrictedExpression> {
    let fields = headers.iter().filter_map(|name| {
        let value = header(facts, name)?;
        Some((name.to_string(), RestrictedExpression::new_string(value.to_owned())))
    });
    RestrictedExpression::new_record(fields).ok()
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
