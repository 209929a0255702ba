//! What changes from one set of policies to another, by what they say rather than how it is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::rule::Rule;
use crate::compile::{Compiled, Effect, PolicyEntry, PolicyKind};
use crate::shaping::{Concurrency, Cost, CostAttribute, Offline, Shaping};
use crate::text::with_deep_stack;

/// What changes from one set to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Policies that are new.
    pub added: Vec<Named>,
    /// Policies that are gone.
    pub removed: Vec<Named>,
    /// Policies that are called otherwise, and say the same.
    pub renamed: Vec<(Arc<str>, Arc<str>)>,
    /// Policies that say something else.
    pub changed: Vec<Changed>,
    /// Whether entities changed.
    pub entities: bool,
    /// Policies that say the same.
    pub unchanged: usize,
}

/// A policy with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The policy.
    pub id: Arc<str>,
    /// Where it is written.
    pub origin: String,
}

/// A policy that says something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The policy.
    pub id: Arc<str>,
    /// Where it is written now.
    pub origin: String,
    /// What is different, part by part.
    pub changes: Vec<Change>,
}

/// One part of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `effect`, `principal`, `action`, `resource`, `conditions`, or an annotation such as `@limit`.
    pub part: &'static str,
    /// What it said; empty for nothing.
    pub old: String,
    /// What it says; empty for nothing.
    pub new: String,
}

impl Diff {
    /// Whether nothing changes but names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty() && !self.entities
    }
}

/// Compares two sets of policies.
///
/// # Errors
/// When policies cannot be read again, which only those of another version can bring about.
pub fn diff(old: &Compiled, new: &Compiled) -> Result<Diff, String> {
    with_deep_stack(|| {
        let (old_parts, new_parts) = (all_parts(old)?, all_parts(new)?);
        let mut diff = Diff { entities: old.entities_json != new.entities_json, ..Diff::default() };
        for (id, (policy, parts)) in &new_parts {
            match old_parts.get(id) {
                None => diff.added.push(named(policy)),
                Some((_, before)) if before == parts => diff.unchanged += 1,
                Some((_, before)) => {
                    let changes = changes(before, parts);
                    diff.changed.push(Changed { id: Arc::clone(id), origin: policy.origin.clone(), changes });
                }
            }
        }
        let gone = old_parts.iter().filter(|(id, _)| !new_parts.contains_key(*id));
        diff.removed = gone.map(|(_, (policy, _))| named(policy)).collect();
        diff.find_renamed(&old_parts, &new_parts);
        Ok(diff)
    })
}

impl Diff {
    fn find_renamed(&mut self, old: &AllParts<'_>, new: &AllParts<'_>) {
        let removed = std::mem::take(&mut self.removed);
        for gone in removed {
            let said = old.get(&gone.id).map(|(_, parts)| parts);
            let again = self.added.iter().position(|added| new.get(&added.id).map(|(_, parts)| parts) == said);
            match again {
                Some(place) => self.renamed.push((gone.id, self.added.remove(place).id)),
                None => self.removed.push(gone),
            }
        }
    }
}

/// What a policy says: its parts, in one spelling.
type Parts = BTreeMap<&'static str, String>;
type AllParts<'a> = BTreeMap<Arc<str>, (&'a PolicyEntry, Parts)>;

fn all_parts(compiled: &Compiled) -> Result<AllParts<'_>, String> {
    let parts = compiled.policies.iter().map(|policy| Ok((Arc::clone(&policy.id), (policy, parts(policy)?))));
    parts.collect()
}

fn parts(policy: &PolicyEntry) -> Result<Parts, String> {
    let rule = Rule::new(policy)?;
    let effect = match (policy.kind, policy.effect) {
        (PolicyKind::Shaping, _) => "limit",
        (PolicyKind::Access, Effect::Permit) => "permit",
        (PolicyKind::Access, Effect::Forbid) => "forbid",
    };
    let [principal, action, resource] = rule.bounds.texts();
    let conditions: Vec<_> = rule.syntax.clauses().iter().map(ToString::to_string).collect();
    let mut parts = BTreeMap::from([
        ("effect", effect.to_owned()),
        ("principal", principal),
        ("action", action),
        ("resource", resource),
        ("conditions", conditions.join(" ")),
    ]);
    if policy.shadow {
        parts.insert("@mode", "shadow".to_owned());
    }
    if let Some(shaping) = &policy.shaping {
        parts.extend(annotations(shaping));
    }
    Ok(parts)
}

/// What the annotations come to, so that `6000/m` and `6_000/min` are the same.
fn annotations(shaping: &Shaping) -> Parts {
    let mut parts = Parts::new();
    if let Some(limit) = &shaping.limit {
        let window = match limit.window_s {
            1 => "s",
            60 => "m",
            3_600 => "h",
            _ => "d",
        };
        parts.insert("@limit", format!("{}/{window}", limit.amount));
        parts.insert("@burst", (limit.burst / crate::shaping::MICROTOKENS).to_string());
    }
    if !shaping.by.is_empty() {
        parts.insert("@by", shaping.by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    if let Some(queue) = shaping.queue {
        parts.insert("@queue", format!("{}ms", queue.as_millis()));
    }
    if let Some(priority) = shaping.priority {
        parts.insert("@priority", priority.to_string());
    }
    match shaping.concurrency {
        Some(Concurrency::Fixed(number)) => drop(parts.insert("@concurrency", number.to_string())),
        Some(Concurrency::Adaptive) => drop(parts.insert("@concurrency", "adaptive".to_owned())),
        None => {}
    }
    match &shaping.cost {
        Cost::Tokens(1) => {}
        Cost::Tokens(tokens) => drop(parts.insert("@cost", tokens.to_string())),
        Cost::Attribute(CostAttribute::RequestBytes) => drop(parts.insert("@cost", "request_bytes".to_owned())),
        Cost::Attribute(CostAttribute::Principal(name)) => drop(parts.insert("@cost", format!("principal.{name}"))),
        Cost::Attribute(CostAttribute::Resource(name)) => drop(parts.insert("@cost", format!("resource.{name}"))),
    }
    match shaping.offline {
        Offline::Safe => {}
        Offline::Allow => drop(parts.insert("@offline", "allow".to_owned())),
        Offline::Deny => drop(parts.insert("@offline", "deny".to_owned())),
    }
    parts
}

fn changes(old: &Parts, new: &Parts) -> Vec<Change> {
    let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
    let value = |parts: &Parts, name| parts.get(name).cloned().unwrap_or_default();
    let changes = names.into_iter().map(|part| Change { part, old: value(old, part), new: value(new, part) });
    changes.filter(|change| change.old != change.new).collect()
}

fn named(policy: &PolicyEntry) -> Named {
    Named { id: Arc::clone(&policy.id), origin: policy.origin.clone() }
}
