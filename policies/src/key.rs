//! The attributes that an answer follows from, as bytes: two requests of a lane with the same key have the same answer.

use std::net::IpAddr;
use std::sync::Arc;

use crate::context::{header, text};
use crate::facts::Facts;
use crate::lists::Lists;
use crate::model::ContextType;
use crate::needs::Needs;

/// One attribute of a key.
pub(crate) struct Part<'a> {
    /// Of the context.
    pub(crate) name: &'static str,
    /// The header, where the attribute is one.
    pub(crate) header: Option<&'a Arc<str>>,
    pub(crate) value: Value<'a>,
}

pub(crate) enum Value<'a> {
    Absent,
    Bool(bool),
    Text(&'a str),
    Address(IpAddr),
}

/// Calls `visit` with each attribute that the policies read. `all_headers` are those that any policy names.
pub(crate) fn parts<'a>(
    facts: &'a Facts<'a>,
    needs: &'a Needs,
    all_headers: &'a [Arc<str>],
    lists: &'a Lists,
    mut visit: impl FnMut(Part<'a>),
) {
    for (name, of_type, _) in needs.context() {
        let value = match of_type {
            ContextType::Text => Value::Text(text(facts, name)),
            ContextType::Bool => Value::Bool(facts.is_mtls),
            ContextType::Address => {
                facts.source_address.map_or(Value::Absent, |address| Value::Address(address.to_canonical()))
            }
            ContextType::User => Value::Text(facts.user),
            ContextType::Headers => {
                for header_name in if needs.all_headers { all_headers } else { &needs.headers } {
                    let value = header(facts, header_name).map_or(Value::Absent, Value::Text);
                    visit(Part { name, header: Some(header_name), value });
                }
                continue;
            }
            // The last attribute of all, as there may be any number of them.
            ContextType::Lists => {
                needs.on_lists(lists, facts, |list| visit(Part { name, header: None, value: Value::Text(list) }));
                continue;
            }
            ContextType::Time | ContextType::Claims => continue,
        };
        visit(Part { name, header: None, value });
    }
}

/// Writes a key. INVARIANT: two lists of values are written alike only when they are alike.
pub(crate) fn write(key: &mut Vec<u8>, part: &Part<'_>) {
    match part.value {
        Value::Absent => key.push(0),
        Value::Bool(is_true) => key.push(1 + u8::from(is_true)),
        Value::Text(text) => {
            key.push(3);
            key.extend_from_slice(&(text.len() as u64).to_le_bytes());
            key.extend_from_slice(text.as_bytes());
        }
        Value::Address(IpAddr::V4(address)) => {
            key.push(4);
            key.extend_from_slice(&address.octets());
        }
        Value::Address(IpAddr::V6(address)) => {
            key.push(6);
            key.extend_from_slice(&address.octets());
        }
    }
}
