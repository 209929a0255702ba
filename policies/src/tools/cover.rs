//! What can be proved of policies from their syntax: that one matches wherever another does, that a condition is constant.
//!
//! All of it is one-sided: what is said is so, what is not said may be so too.

use std::collections::BTreeSet;

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, UnaryOp};

use super::ground::Ground;
use super::rule::Rule;

/// A part of a policy's conditions that must hold for it to match, as Cedar writes it, or its opposite.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Conjunct {
    text: String,
    is_true: bool,
    /// For `a == "b"`: what is compared, and the literal.
    equals: Option<(String, String)>,
}

/// Everything that must hold for a policy to match, its scope aside.
pub(crate) fn conjuncts(rule: &Rule) -> BTreeSet<Conjunct> {
    let mut found = BTreeSet::new();
    for clause in rule.syntax.clauses() {
        match clause {
            Clause::When(expr) => add(expr, true, &mut found),
            Clause::Unless(expr) => add(expr, false, &mut found),
        }
    }
    found
}

fn add(expr: &Expr, is_true: bool, found: &mut BTreeSet<Conjunct>) {
    match (expr, is_true) {
        (Expr::BinaryOp { op: BinaryOp::And, left, right }, true)
        | (Expr::BinaryOp { op: BinaryOp::Or, left, right }, false) => {
            add(left, is_true, found);
            add(right, is_true, found);
        }
        (Expr::UnaryOp { op: UnaryOp::Not, expr }, _) => add(expr, !is_true, found),
        (expr, _) if constant(expr) == Some(is_true) => {}
        (expr, _) => {
            found.insert(Conjunct { text: expr.to_string(), is_true, equals: equals(expr) });
        }
    }
}

/// `a != b` is an equality too, and one of a literal says which value it can have.
fn equals(expr: &Expr) -> Option<(String, String)> {
    let Expr::BinaryOp { op: BinaryOp::Eq, left, right } = expr else { return None };
    match (&**left, &**right) {
        (Expr::Literal(_), Expr::Literal(_)) => None,
        (other, Expr::Literal(literal)) | (Expr::Literal(literal), other) => {
            Some((other.to_string(), Expr::Literal(literal.clone()).to_string()))
        }
        _ => None,
    }
}

/// Whether `wide` matches every request that `narrow` matches.
pub(crate) fn covers(
    (wide, wide_conjuncts): (&Rule, &BTreeSet<Conjunct>),
    (narrow, narrow_conjuncts): (&Rule, &BTreeSet<Conjunct>),
    ground: &Ground,
) -> bool {
    wide_conjuncts.is_subset(narrow_conjuncts) && wide.bounds.contain(&narrow.bounds, ground)
}

/// Why conditions can never all hold.
pub(crate) fn contradiction(conjuncts: &BTreeSet<Conjunct>) -> Option<String> {
    for (index, one) in conjuncts.iter().enumerate() {
        for other in conjuncts.iter().skip(index + 1) {
            if one.text == other.text && one.is_true != other.is_true {
                return Some(format!("`{}` is asked to be true and false", one.text));
            }
            if let (Some((what, value)), Some((same, another))) = (&one.equals, &other.equals)
                && (what, one.is_true, other.is_true) == (same, true, true)
                && value != another
            {
                return Some(format!("`{what}` cannot be both {value} and {another}"));
            }
        }
    }
    None
}

/// The value of a condition that reads nothing, or compares a thing with itself.
pub(crate) fn constant(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Literal(Literal::Bool(value)) => Some(*value),
        Expr::UnaryOp { op: UnaryOp::Not, expr } => constant(expr).map(|value| !value),
        Expr::IfThenElse { cond, then_expr, else_expr } => match constant(cond) {
            Some(true) => constant(then_expr),
            Some(false) => constant(else_expr),
            None => constant(then_expr).filter(|value| constant(else_expr) == Some(*value)),
        },
        Expr::BinaryOp { op, left, right } => binary(*op, left, right),
        _ => None,
    }
}

fn binary(op: BinaryOp, left: &Expr, right: &Expr) -> Option<bool> {
    match op {
        // What stands on the left is evaluated first and may fail, so a constant on the right decides only with it.
        BinaryOp::And => match (constant(left), constant(right)) {
            (Some(false), _) => Some(false),
            (Some(true), right) => right,
            (None, _) => None,
        },
        BinaryOp::Or => match (constant(left), constant(right)) {
            (Some(true), _) => Some(true),
            (Some(false), right) => right,
            (None, _) => None,
        },
        BinaryOp::Eq | BinaryOp::LessEq | BinaryOp::GreaterEq | BinaryOp::In if is_plain(left) && left == right => {
            Some(true)
        }
        BinaryOp::NotEq | BinaryOp::Less | BinaryOp::Greater if is_plain(left) && left == right => Some(false),
        _ => literals(op, left, right),
    }
}

fn literals(op: BinaryOp, left: &Expr, right: &Expr) -> Option<bool> {
    let (Expr::Literal(left), Expr::Literal(right)) = (left, right) else { return None };
    match (op, left, right) {
        (BinaryOp::Eq, left, right) => Some(left == right),
        (BinaryOp::NotEq, left, right) => Some(left != right),
        (BinaryOp::Less, Literal::Long(left), Literal::Long(right)) => Some(left < right),
        (BinaryOp::LessEq, Literal::Long(left), Literal::Long(right)) => Some(left <= right),
        (BinaryOp::Greater, Literal::Long(left), Literal::Long(right)) => Some(left > right),
        (BinaryOp::GreaterEq, Literal::Long(left), Literal::Long(right)) => Some(left >= right),
        _ => None,
    }
}

/// A literal, a variable or an attribute of one: evaluating it twice gives the same.
fn is_plain(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(_) | Expr::Var(_) => true,
        Expr::GetAttr { expr, .. } => is_plain(expr),
        _ => false,
    }
}
