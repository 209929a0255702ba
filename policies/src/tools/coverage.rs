//! What tests have seen of policies: which matched, and which conditions were both true and false.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::asked::RequestFacts;
use super::clauses::clauses;
use super::judge::Judge;
use super::tree::{Ask, Shape, Tree, Truth};
use crate::text::{self, with_deep_stack};

/// What was seen of all policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Policies that matched at least one request.
    pub policies_matched: usize,
    /// Outcomes of conditions that were seen. Each condition has two, and so has each operand of `&&` and `||`.
    pub outcomes_seen: usize,
    /// Outcomes in all.
    pub outcomes: usize,
    /// Each policy, in the order in which they are written.
    pub policies: Vec<PolicyCoverage>,
}

/// What was seen of one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyCoverage {
    /// The policy.
    pub id: Arc<str>,
    /// Where it is written.
    pub origin: String,
    /// The template that it is a link of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Arc<str>>,
    /// Requests within its scope.
    pub in_scope: usize,
    /// Requests that it matched.
    pub matched: usize,
    /// Its conditions.
    pub clauses: Vec<ClauseCoverage>,
}

/// What was seen of one `when` or `unless`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClauseCoverage {
    /// `when` or `unless`.
    pub clause: &'static str,
    /// Line of the file.
    pub line: usize,
    /// The whole of it.
    #[serde(flatten)]
    pub condition: ConditionCoverage,
}

/// What was seen of a condition or of one of its operands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConditionCoverage {
    /// As Cedar writes it.
    pub text: String,
    /// Whether it was true for some request.
    pub seen_true: bool,
    /// Whether it was false for some request.
    pub seen_false: bool,
    /// Its operands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Self>,
}

/// Collects what is seen.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// By place of the rule: requests in scope, and matched.
    counts: BTreeMap<usize, (usize, usize)>,
    /// By address of the part of a condition, which lives as long as its judge: seen true, seen false.
    seen: BTreeMap<usize, (bool, bool)>,
}

impl Recorder {
    pub(crate) fn record(&mut self, judge: &Judge, facts: &RequestFacts) -> Result<(), String> {
        with_deep_stack(|| {
            let ask = judge.ask(facts)?;
            for index in judge.in_scope(facts) {
                let rule = &judge.rules[index];
                let count = self.counts.entry(index).or_default();
                count.0 += 1;
                count.1 += usize::from(rule.truth(&ask) == Truth::True);
                for clause in rule.trees() {
                    let is_true = self.tree(&clause.tree, &ask);
                    if is_true != Some(clause.is_when) {
                        break;
                    }
                }
            }
            Ok(())
        })
    }

    /// Evaluates as Cedar does: from the left, and no further than is needed.
    fn tree(&mut self, tree: &Tree, ask: &Ask) -> Option<bool> {
        let is_true = match &tree.shape {
            Shape::All(parts) => self.chain(parts, ask, true),
            Shape::Any(parts) => self.chain(parts, ask, false),
            Shape::Not(part) => self.tree(part, ask).map(|is_true| !is_true),
            Shape::If(parts) => {
                let is_true = self.tree(&parts[0], ask);
                is_true.and_then(|is_true| self.tree(&parts[if is_true { 1 } else { 2 }], ask))
            }
            Shape::Leaf(_) => match tree.truth(ask, &|_| false) {
                Truth::True => Some(true),
                Truth::False => Some(false),
                _ => None,
            },
        };
        let seen = self.seen.entry(key(tree)).or_default();
        match is_true {
            Some(true) => seen.0 = true,
            Some(false) => seen.1 = true,
            None => {}
        }
        is_true
    }

    fn chain(&mut self, parts: &[Tree], ask: &Ask, open: bool) -> Option<bool> {
        for part in parts {
            match self.tree(part, ask) {
                Some(is_true) if is_true == open => {}
                settled => return settled,
            }
        }
        Some(open)
    }

    pub(crate) fn coverage(&self, judge: &Judge) -> Coverage {
        let mut coverage = Coverage { policies_matched: 0, outcomes_seen: 0, outcomes: 0, policies: Vec::new() };
        for (index, rule) in judge.rules.iter().enumerate() {
            let (in_scope, matched) = self.counts.get(&index).copied().unwrap_or_default();
            coverage.policies_matched += usize::from(matched > 0);
            let first = rule.entry.origin.rsplit(':').next().and_then(|line| line.parse().ok()).unwrap_or(1);
            let places = clauses(&rule.entry.text);
            let seen = rule.trees().iter().zip(&places).map(|(clause, place)| ClauseCoverage {
                clause: if clause.is_when { "when" } else { "unless" },
                line: first + text::place(&rule.entry.text, place.at).0 - 1,
                condition: self.condition(&clause.tree, &mut coverage.outcomes_seen, &mut coverage.outcomes),
            });
            let clauses = seen.collect();
            let entry = &rule.entry;
            let (id, origin, template) = (Arc::clone(&entry.id), entry.origin.clone(), entry.template.clone());
            coverage.policies.push(PolicyCoverage { id, origin, template, in_scope, matched, clauses });
        }
        coverage
    }

    fn condition(&self, tree: &Tree, outcomes_seen: &mut usize, outcomes: &mut usize) -> ConditionCoverage {
        let (seen_true, seen_false) = self.seen.get(&key(tree)).copied().unwrap_or_default();
        *outcomes += 2;
        *outcomes_seen += usize::from(seen_true) + usize::from(seen_false);
        let mut parts = Vec::new();
        match &tree.shape {
            Shape::All(of) | Shape::Any(of) => {
                parts.extend(of.iter().map(|part| self.condition(part, outcomes_seen, outcomes)));
            }
            // What is negated has been seen to be the opposite, so it does not count again; its operands do.
            Shape::Not(part) => parts = self.negated(part, outcomes_seen, outcomes),
            Shape::If(of) => parts.extend(of.iter().map(|part| self.condition(part, outcomes_seen, outcomes))),
            Shape::Leaf(_) => {}
        }
        ConditionCoverage { text: tree.text.clone(), seen_true, seen_false, parts }
    }

    fn negated(&self, part: &Tree, outcomes_seen: &mut usize, outcomes: &mut usize) -> Vec<ConditionCoverage> {
        match &part.shape {
            Shape::All(of) | Shape::Any(of) => {
                of.iter().map(|part| self.condition(part, outcomes_seen, outcomes)).collect()
            }
            Shape::If(of) => of.iter().map(|part| self.condition(part, outcomes_seen, outcomes)).collect(),
            Shape::Not(part) => self.negated(part, outcomes_seen, outcomes),
            Shape::Leaf(_) => Vec::new(),
        }
    }
}

fn key(tree: &Tree) -> usize {
    std::ptr::from_ref(tree) as usize
}
