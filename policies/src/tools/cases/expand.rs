//! The requests of a case: every principal with every action, every resource and every value of the context.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::read::{Case, CaseFile};
use crate::diagnostics::nearest;
use crate::model::{self, GROUP, METHODS, NAMESPACE, SERVICE};
use crate::tools::asked::RequestFacts;
use crate::tools::ground::{Ground, Uid};

/// Most requests of one case.
const REQUESTS_MAX: usize = 10_000;
/// What `context` may hold: the columns of `requests` that policies can read.
const CONTEXT: &[&str] = &[
    "path",
    "host",
    "route",
    "scheme",
    "protocol",
    "user_agent",
    "source_address",
    "user",
    "is_mtls",
    "headers",
    "lists",
    "time",
    "request_bytes",
];

/// What is wrong: a code and words.
type Wrong = (&'static str, String);

pub(super) fn requests(file: &CaseFile, case: &Case, ground: &Ground) -> Result<Vec<RequestFacts>, Wrong> {
    let principals = each(&case.principals, |text| services(text, ground))?;
    let actions = each(&case.actions, methods)?;
    let resources = each(&case.resources, |text| services(text, ground))?;
    let contexts = contexts(file, case)?;
    let sizes = [principals.len(), actions.len(), resources.len(), contexts.len()];
    let size = sizes.iter().try_fold(1_usize, |all, size| all.checked_mul(*size)).unwrap_or(usize::MAX);
    if size > REQUESTS_MAX {
        return Err(("TG0703", format!("the case has {size} requests, at most {REQUESTS_MAX} are allowed")));
    }
    let signals = case.signals.clone().unwrap_or_else(|| file.signals.clone());
    let mut requests = Vec::with_capacity(size);
    for source in &principals {
        for method in &actions {
            for destination in &resources {
                requests.extend(contexts.iter().map(|context| RequestFacts {
                    source: source.clone(),
                    method: method.clone(),
                    destination: destination.clone(),
                    signals: Some(signals.clone()),
                    ..context.clone()
                }));
            }
        }
    }
    Ok(requests)
}

fn each(texts: &[String], read: impl Fn(&str) -> Result<Vec<String>, Wrong>) -> Result<Vec<String>, Wrong> {
    let mut found = Vec::new();
    for text in texts {
        found.extend(read(text)?);
    }
    Ok(found)
}

/// `shop/search`, `anonymous`, or all services that are in `Group::"free"` or `Namespace::"shop"`.
fn services(text: &str, ground: &Ground) -> Result<Vec<String>, Wrong> {
    if text == "anonymous" {
        return Ok(vec![String::new()]);
    }
    let uid = Uid::read(text);
    match uid.of_type.as_str() {
        SERVICE if crate::entities::is_service_id(&uid.id) => Ok(vec![uid.id]),
        GROUP | NAMESPACE => {
            let members = ground.uids().filter(|member| member.of_type == SERVICE && ground.is_in(member, &uid));
            let members: BTreeSet<_> = members.map(|member| member.id.clone()).collect();
            if members.is_empty() {
                return Err(("TG0702", format!("no service in entities.json is in `{uid}`")));
            }
            Ok(members.into_iter().collect())
        }
        _ => {
            let message =
                format!("`{text}` is neither a service, `namespace/name`, nor a group of them, nor `anonymous`");
            Err(("TG0702", message))
        }
    }
}

/// `GET`, or all methods of `read` or `write`.
fn methods(text: &str) -> Result<Vec<String>, Wrong> {
    let group = METHODS.iter().filter(|(_, group)| *group == text).map(|(method, _)| (*method).to_owned());
    let group: Vec<_> = group.collect();
    if !group.is_empty() {
        return Ok(group);
    }
    if text.is_empty() || text != text.to_uppercase() {
        return Err(("TG0702", format!("`{text}` is neither a method, such as GET, nor `read` nor `write`")));
    }
    Ok(vec![text.to_owned()])
}

/// Every combination of the values of a context, of which each may be a list.
fn contexts(file: &CaseFile, case: &Case) -> Result<Vec<RequestFacts>, Wrong> {
    let mut fields = file.context.clone();
    fields.extend(case.context.clone());
    let mut combinations = vec![Map::new()];
    for (name, value) in fields {
        if !CONTEXT.contains(&name.as_str()) {
            let help = nearest(&name, CONTEXT.iter().copied()).map(|meant| format!("; did you mean `{meant}`?"));
            return Err(("TG0702", format!("unknown name `{name}` in context{}", help.unwrap_or_default())));
        }
        let values = match value {
            // A request is on several lists at once: a list of them is one value, and a list of lists tries each.
            Value::Array(values)
                if name == model::LISTS && (values.is_empty() || !values.iter().all(Value::is_array)) =>
            {
                vec![Value::Array(values)]
            }
            Value::Array(values) => values,
            Value::String(list) if name == model::LISTS => vec![Value::Array(vec![list.into()])],
            value => vec![value],
        };
        if combinations.len().saturating_mul(values.len()) > REQUESTS_MAX {
            return Err(("TG0703", format!("the context alone has more than {REQUESTS_MAX} combinations")));
        }
        let extended = |combination: &Map<String, Value>, value: &Value| {
            let mut combination = combination.clone();
            combination.insert(name.clone(), value.clone());
            combination
        };
        combinations = combinations
            .iter()
            .flat_map(|combination| values.iter().map(|value| extended(combination, value)))
            .collect();
    }
    let read = |fields| serde_json::from_value::<RequestFacts>(Value::Object(fields));
    let read: Result<Vec<_>, _> = combinations.into_iter().map(read).collect();
    read.map_err(|error| ("TG0702", format!("context: {error}")))
}
