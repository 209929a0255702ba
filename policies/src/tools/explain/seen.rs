//! Conditions with the values that they came to.

use serde::Serialize;

use crate::tools::rule::Rule;
use crate::tools::tree::{Ask, Shape, Tree, Truth};

/// One `when` or `unless` of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeenCondition {
    /// `when` or `unless`.
    pub clause: &'static str,
    /// Whether it lets the policy match.
    pub is_met: bool,
    /// The condition, part by part.
    #[serde(flatten)]
    pub seen: Seen,
}

/// A part of a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// As Cedar writes it.
    pub text: String,
    /// `true`, `false`, the error, or `not evaluated` where what stands before it has settled the matter.
    pub value: String,
    /// How its parts are joined: `all`, `any`, `not` or `if`; empty where it has none.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub join: &'static str,
    /// What it read, where it has no parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<SeenRead>,
    /// Its parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Self>,
}

/// An attribute with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeenRead {
    /// `context.path`.
    pub text: String,
    /// As Cedar writes it; none where the attribute is absent.
    pub value: Option<String>,
}

pub(super) const NOT_EVALUATED: &str = "not evaluated";

/// The conditions of a policy. What follows one that is not met is not evaluated.
pub(super) fn conditions(rule: &Rule, ask: &Ask) -> Vec<SeenCondition> {
    let mut is_settled = false;
    let clauses = rule.trees().iter().map(|clause| {
        let seen = if is_settled { skipped(&clause.tree) } else { see(&clause.tree, ask) };
        let is_met = seen.value == if clause.is_when { "true" } else { "false" };
        is_settled |= !is_met;
        SeenCondition { clause: if clause.is_when { "when" } else { "unless" }, is_met, seen }
    });
    clauses.collect()
}

/// A condition with its parts, evaluated as Cedar does: from the left, and no further than is needed.
pub(super) fn see(tree: &Tree, ask: &Ask) -> Seen {
    let value = value(&tree.truth(ask, &|_| false));
    let mut reads = Vec::new();
    let (join, parts) = match &tree.shape {
        Shape::All(children) => ("all", until(children, ask, "true")),
        Shape::Any(children) => ("any", until(children, ask, "false")),
        Shape::Not(child) => ("not", vec![see(child, ask)]),
        Shape::If(children) => {
            let condition = see(&children[0], ask);
            let (yes, no) = (condition.value == "true", condition.value == "false");
            let branch = |child, is_taken| if is_taken { see(child, ask) } else { skipped(child) };
            ("if", vec![condition, branch(&children[1], yes), branch(&children[2], no)])
        }
        Shape::Leaf(of) => {
            reads = of.iter().map(|read| SeenRead { text: read.text.clone(), value: read.value(ask) }).collect();
            ("", Vec::new())
        }
    };
    Seen { text: tree.text.clone(), value, join, reads, parts }
}

/// Parts of a chain, as long as each leaves the matter open.
fn until(parts: &[Tree], ask: &Ask, open: &str) -> Vec<Seen> {
    let mut is_settled = false;
    let seen = parts.iter().map(|part| {
        let seen = if is_settled { skipped(part) } else { see(part, ask) };
        is_settled |= seen.value != open;
        seen
    });
    seen.collect()
}

fn skipped(tree: &Tree) -> Seen {
    let value = NOT_EVALUATED.to_owned();
    Seen { text: tree.text.clone(), value, join: "", reads: Vec::new(), parts: Vec::new() }
}

fn value(truth: &Truth) -> String {
    match truth {
        Truth::True => "true".to_owned(),
        Truth::False => "false".to_owned(),
        Truth::Failed(error) => error.clone(),
        Truth::Unsure(names) => format!("unknown without {}", names.join(", ")),
    }
}
