//! The permit that came nearest to permitting a request, and what it lacked.

use std::sync::Arc;

use serde::Serialize;

use super::seen::{Seen, conditions};
use crate::compile::{Effect, PolicyKind};
use crate::tools::asked::RequestFacts;
use crate::tools::judge::Judge;
use crate::tools::rule::Rule;
use crate::tools::tree::{Ask, Truth};

/// The permit that came nearest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NearestPermit {
    /// The policy.
    pub id: Arc<str>,
    /// Where it is written.
    pub origin: String,
    /// What kept it from matching.
    pub lacks: Vec<Missing>,
}

/// One thing that a policy asks for and a request does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What is asked for: `context.path == "/items"`.
    pub needs: String,
    /// What there is: `context.path is "/"`.
    pub found: String,
}

/// Another service is further off than another caller, that further than another method, and that than a condition.
const WEIGHTS: [(&str, usize); 3] = [("resource", 100), ("principal", 30), ("action", 10)];

pub(super) fn nearest(judge: &Judge, facts: &RequestFacts, ask: &Ask) -> Option<NearestPermit> {
    let permits = judge.rules.iter().filter(|rule| {
        let entry = &rule.entry;
        entry.kind == PolicyKind::Access && entry.effect == Effect::Permit && !entry.shadow
    });
    let distances = permits.map(|rule| (distance(judge, rule, facts, ask), rule));
    let (_, rule) = distances.min_by_key(|(distance, _)| *distance)?;
    let entry = &rule.entry;
    let lacks = lacks(judge, rule, facts, ask);
    Some(NearestPermit { id: Arc::clone(&entry.id), origin: entry.origin.clone(), lacks })
}

/// Conditions are only asked where the scope is not too far off: of ten thousand policies, nearly all are.
fn distance(judge: &Judge, rule: &Rule, facts: &RequestFacts, ask: &Ask) -> usize {
    let scope = super::scope(judge, rule, facts).into_iter().filter(|part| !part.is_met);
    let weight = |text: &str| WEIGHTS.iter().find(|(name, _)| text.starts_with(name)).map_or(0, |(_, weight)| *weight);
    let scope: usize = scope.map(|part| weight(&part.text)).sum();
    if scope < WEIGHTS[0].1 && rule.truth(ask) != Truth::True {
        return scope + conditions(rule, ask).iter().filter(|condition| !condition.is_met).count();
    }
    scope
}

fn lacks(judge: &Judge, rule: &Rule, facts: &RequestFacts, ask: &Ask) -> Vec<Missing> {
    let scope = super::scope(judge, rule, facts).into_iter().filter(|part| !part.is_met);
    let mut lacks: Vec<_> =
        scope.map(|part| Missing { needs: part.text, found: format!("it is {}", part.value) }).collect();
    for condition in conditions(rule, ask).iter().filter(|condition| condition.seen.value != super::seen::NOT_EVALUATED)
    {
        if !condition.is_met {
            missing(&condition.seen, condition.clause == "when", &mut lacks);
        }
    }
    lacks
}

/// The smallest parts of a condition that would have to be otherwise.
fn missing(seen: &Seen, wanted: bool, lacks: &mut Vec<Missing>) {
    let is_wrong = |part: &&Seen| part.value == (!wanted).to_string();
    let is_chain = matches!(seen.join, "all" | "any");
    match seen.parts.iter().find(is_wrong) {
        // Of a chain in which one part alone settles the matter, that one.
        Some(part) if is_chain && seen.parts.iter().filter(is_wrong).count() == 1 => missing(part, wanted, lacks),
        _ if seen.join == "not" => missing(&seen.parts[0], !wanted, lacks),
        _ => {
            let needs = if wanted { seen.text.clone() } else { format!("!({})", seen.text) };
            lacks.push(Missing { needs, found: found(seen) });
        }
    }
}

fn found(seen: &Seen) -> String {
    let mut values = Vec::new();
    collect(seen, &mut values);
    match (seen.value.as_str(), values.is_empty()) {
        ("true" | "false", false) => values.join(", "),
        (value, true) => format!("it is {value}"),
        (error, false) => format!("{error} ({})", values.join(", ")),
    }
}

fn collect(seen: &Seen, values: &mut Vec<String>) {
    for read in &seen.reads {
        let said = match &read.value {
            Some(value) => format!("{} is {value}", read.text),
            None => format!("{} is absent", read.text),
        };
        if !values.contains(&said) {
            values.push(said);
        }
    }
    seen.parts.iter().for_each(|part| collect(part, values));
}
