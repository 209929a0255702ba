//! One policy with its syntax.

use std::sync::OnceLock;

use cedar_policy::pst::{Clause, Policy as Syntax, Template};
use cedar_policy::{EvalResult, Expression, Policy, PolicyId, eval_expression};

use super::bounds::Bounds;
use super::clauses::{ClausePlace, clauses};
use super::tree::{Ask, Tree, Truth};
use crate::compile::PolicyEntry;
use crate::reads::Reads;

/// A compiled policy, taken apart.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) entry: PolicyEntry,
    pub(crate) bounds: Bounds,
    pub(crate) syntax: Template,
    pub(crate) reads: Reads,
    /// All of its clauses as one expression.
    condition: OnceLock<Option<Expression>>,
    trees: OnceLock<Vec<ClauseTree>>,
}

/// One `when` or `unless`.
#[derive(Debug)]
pub(crate) struct ClauseTree {
    pub(crate) is_when: bool,
    pub(crate) tree: Tree,
}

impl Rule {
    pub(crate) fn new(entry: &PolicyEntry) -> Result<Self, String> {
        let unreadable = |problem: String| format!("policy `{}` ({}): {problem}", entry.id, entry.origin);
        let policy = Policy::parse(Some(PolicyId::new("0")), &entry.text);
        let policy = policy.map_err(|errors| unreadable(errors.to_string()))?;
        let reads = Reads::of(&policy);
        let syntax = match policy.to_pst() {
            Ok(Syntax::Static(policy)) => policy.body().clone(),
            Ok(Syntax::Linked(_)) => return Err(unreadable("it has slots".to_owned())),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let bounds = Bounds::of(&syntax).ok_or_else(|| unreadable("it has slots".to_owned()))?;
        let (condition, trees) = (OnceLock::new(), OnceLock::new());
        Ok(Self { entry: entry.clone(), bounds, syntax, reads, condition, trees })
    }

    pub(crate) fn reads_context(&self, name: &str) -> bool {
        self.reads.whole_context || self.reads.context.contains(name)
    }

    pub(crate) fn is_conditional(&self) -> bool {
        !self.syntax.clauses().is_empty()
    }

    /// Its conditions, each taken apart. Made when first asked for.
    pub(crate) fn trees(&self) -> &[ClauseTree] {
        self.trees.get_or_init(|| {
            let clauses = self.syntax.clauses().iter();
            clauses
                .map(|clause| match clause {
                    Clause::When(expr) => ClauseTree { is_when: true, tree: Tree::new(expr) },
                    Clause::Unless(expr) => ClauseTree { is_when: false, tree: Tree::new(expr) },
                })
                .collect()
        })
    }

    /// What its conditions come to, exactly as Cedar finds it.
    pub(crate) fn truth(&self, ask: &Ask) -> Truth {
        if !self.is_conditional() {
            return Truth::True;
        }
        let condition = self.condition.get_or_init(|| condition(&self.entry.text));
        let Some(condition) = condition else { return self.truth_without(ask, &|_| false) };
        match eval_expression(&ask.request, &ask.entities, condition) {
            Ok(EvalResult::Bool(true)) => Truth::True,
            Ok(EvalResult::Bool(false)) => Truth::False,
            Ok(other) => Truth::Failed(format!("`{other}` is neither true nor false")),
            Err(error) => Truth::Failed(error.to_string()),
        }
    }

    /// The same where some attributes are not known.
    pub(crate) fn truth_without(&self, ask: &Ask, is_unknown: &impl Fn(&[String]) -> bool) -> Truth {
        let mut unknown = Vec::new();
        for clause in self.trees() {
            match (clause.tree.truth(ask, is_unknown), clause.is_when) {
                (Truth::Unsure(attributes), _) => unknown.extend(attributes),
                (Truth::Failed(error), _) if unknown.is_empty() => return Truth::Failed(error),
                (Truth::Failed(_), _) => return Truth::Unsure(unknown),
                (Truth::False, true) | (Truth::True, false) => return Truth::False,
                (Truth::True, true) | (Truth::False, false) => {}
            }
        }
        if unknown.is_empty() { Truth::True } else { Truth::Unsure(unknown) }
    }
}

/// `when { a } unless { b }` is `(a) && !(b)`, in this order.
fn condition(statement: &str) -> Option<Expression> {
    let part = |place: &ClausePlace| {
        // A comment may stand last, and ends with its line.
        let text = &statement[place.condition.clone()];
        if place.is_when { format!("({text}\n)") } else { format!("!({text}\n)") }
    };
    let parts: Vec<_> = clauses(statement).iter().map(part).collect();
    parts.join(" && ").parse().ok()
}
