//! `context` of a request, as plain Cedar takes it.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Context, RestrictedExpression};

use super::cedar;
use crate::model::{self, ContextType, USER};
use crate::tools::asked::{RequestFacts, Time};
use crate::tools::ground::{Uid, causes};

/// With those attributes that are named, or all.
pub(super) fn context(facts: &RequestFacts, names: Option<&BTreeSet<&'static str>>) -> Result<Context, String> {
    let mut pairs = Vec::new();
    let wanted = model::context().iter().filter(|(name, ..)| names.is_none_or(|names| names.contains(name)));
    for (name, of_type, is_required) in wanted {
        let value = match of_type {
            ContextType::Text => text(facts, name, *is_required),
            ContextType::Bool => Some(RestrictedExpression::new_bool(facts.is_mtls)),
            ContextType::Time => {
                let now = || Time::from_us(crate::clock::Clock::system().wall_us());
                let time = facts.time.clone().unwrap_or_else(now);
                Some(RestrictedExpression::new_datetime(time.as_str()))
            }
            ContextType::Address => {
                let address = facts.source_address.map(|address| address.to_canonical().to_string());
                address.map(RestrictedExpression::new_ip)
            }
            ContextType::User if facts.user.is_empty() => None,
            ContextType::User => Some(RestrictedExpression::new_entity_uid(cedar(&Uid::new(USER, &facts.user))?)),
            ContextType::Headers => {
                let value = |value: &String| RestrictedExpression::new_string(value.clone());
                let fields = facts.labels.iter().map(|(name, header)| (name.to_ascii_lowercase(), value(header)));
                // By way of a map: two spellings of one name are one header.
                let fields: BTreeMap<_, _> = fields.collect();
                Some(RestrictedExpression::new_record(fields).map_err(|error| causes(&error))?)
            }
            ContextType::Lists => {
                let on = facts.lists.iter().map(|name| RestrictedExpression::new_string(name.clone()));
                Some(RestrictedExpression::new_set(on))
            }
            ContextType::Claims => None,
        };
        pairs.extend(value.map(|value| ((*name).to_owned(), value)));
    }
    Context::from_pairs(pairs).map_err(|error| causes(&error))
}

fn text(facts: &RequestFacts, name: &str, is_required: bool) -> Option<RestrictedExpression> {
    let value = match name {
        "method" => &facts.method,
        "path" => &facts.path,
        "host" => &facts.host,
        "route" => &facts.route,
        "scheme" => &facts.scheme,
        "protocol" => &facts.protocol,
        "user_agent" => &facts.user_agent,
        _ => return is_required.then(|| RestrictedExpression::new_string(String::new())),
    };
    (is_required || !value.is_empty()).then(|| RestrictedExpression::new_string(value.clone()))
}
