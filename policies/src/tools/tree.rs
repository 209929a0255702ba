//! A condition taken apart, so that each part can be asked for its value.

use std::sync::Arc;

use cedar_policy::pst::{BinaryOp, Expr, UnaryOp, Var};
use cedar_policy::{Entities, EvalResult, Expression, Request, eval_expression};

/// A request with its entities, as Cedar evaluates it.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) request: Request,
    pub(crate) entities: Arc<Entities>,
}

/// A condition, or a part of one.
#[derive(Debug)]
pub(crate) struct Tree {
    /// As Cedar writes it.
    pub(crate) text: String,
    pub(crate) shape: Shape,
    /// `None` for what Cedar cannot read back, of which no value can be told.
    expression: Option<Expression>,
}

#[derive(Debug)]
pub(crate) enum Shape {
    /// `a && b && c`.
    All(Vec<Tree>),
    /// `a || b || c`.
    Any(Vec<Tree>),
    /// `!a`.
    Not(Box<Tree>),
    /// `if a then b else c`.
    If(Box<[Tree; 3]>),
    /// What has no conditions in it, and what it reads.
    Leaf(Vec<Read>),
}

/// One attribute, or one of the variables, that a condition reads.
#[derive(Debug)]
pub(crate) struct Read {
    /// `["context", "headers", "x-tenant"]`.
    pub(crate) names: Vec<String>,
    pub(crate) text: String,
    expression: Option<Expression>,
}

/// What a condition came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Truth {
    True,
    False,
    Failed(String),
    /// It reads attributes that are not known.
    Unsure(Vec<String>),
}

impl Truth {
    fn of(is_true: bool) -> Self {
        if is_true { Self::True } else { Self::False }
    }
}

impl Tree {
    /// Takes an expression apart. Its depth is bounded when policies are checked.
    pub(crate) fn new(expr: &Expr) -> Self {
        let shape = match expr {
            Expr::BinaryOp { op: op @ (BinaryOp::And | BinaryOp::Or), .. } => {
                let mut parts = Vec::new();
                chain(expr, *op, &mut parts);
                if *op == BinaryOp::And { Shape::All(parts) } else { Shape::Any(parts) }
            }
            Expr::UnaryOp { op: UnaryOp::Not, expr } => Shape::Not(Box::new(Self::new(expr))),
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                Shape::If(Box::new([Self::new(cond), Self::new(then_expr), Self::new(else_expr)]))
            }
            _ => {
                let mut reads = Vec::new();
                collect(expr, &mut reads);
                Shape::Leaf(reads)
            }
        };
        let text = expr.to_string();
        Self { expression: text.parse().ok(), text, shape }
    }

    /// What it comes to. `is_unknown` says which attributes are not known.
    pub(crate) fn truth(&self, ask: &Ask, is_unknown: &impl Fn(&[String]) -> bool) -> Truth {
        match &self.shape {
            Shape::All(parts) => chained(parts.iter().map(|part| part.truth(ask, is_unknown)), Truth::False),
            Shape::Any(parts) => chained(parts.iter().map(|part| part.truth(ask, is_unknown)), Truth::True),
            Shape::Not(part) => match part.truth(ask, is_unknown) {
                Truth::True => Truth::False,
                Truth::False => Truth::True,
                other => other,
            },
            Shape::If(parts) => match parts[0].truth(ask, is_unknown) {
                Truth::True => parts[1].truth(ask, is_unknown),
                Truth::False => parts[2].truth(ask, is_unknown),
                other => other,
            },
            Shape::Leaf(reads) => {
                let unknown = reads.iter().filter(|read| is_unknown(&read.names));
                let unknown: Vec<_> = unknown.map(|read| read.text.clone()).collect();
                if unknown.is_empty() { self.evaluate(ask) } else { Truth::Unsure(unknown) }
            }
        }
    }

    fn evaluate(&self, ask: &Ask) -> Truth {
        let Some(expression) = &self.expression else {
            return Truth::Failed("cannot be evaluated by itself".to_owned());
        };
        match eval_expression(&ask.request, &ask.entities, expression) {
            Ok(EvalResult::Bool(is_true)) => Truth::of(is_true),
            Ok(other) => Truth::Failed(format!("`{other}` is neither true nor false")),
            Err(error) => Truth::Failed(error.to_string()),
        }
    }
}

impl Read {
    /// Its value as Cedar writes it; `None` where there is none.
    pub(crate) fn value(&self, ask: &Ask) -> Option<String> {
        let value = eval_expression(&ask.request, &ask.entities, self.expression.as_ref()?).ok()?;
        Some(value.to_string())
    }
}

/// `&&` and `||` as Cedar evaluates them, from the left, with what is not known among it: a part that settles the whole
/// does so although one before it is not known. (That one could only have failed by overflow.)
fn chained(parts: impl Iterator<Item = Truth>, settles: Truth) -> Truth {
    let mut unknown = Vec::new();
    for part in parts {
        match part {
            Truth::Unsure(attributes) => unknown.extend(attributes),
            Truth::Failed(error) if unknown.is_empty() => return Truth::Failed(error),
            // Whether it is reached depends on what is not known.
            Truth::Failed(_) => return Truth::Unsure(unknown),
            part if part == settles => return settles,
            _ => {}
        }
    }
    match (unknown.is_empty(), settles) {
        (false, _) => Truth::Unsure(unknown),
        (true, Truth::False) => Truth::True,
        (true, _) => Truth::False,
    }
}

fn chain(expr: &Expr, of: BinaryOp, parts: &mut Vec<Tree>) {
    match expr {
        Expr::BinaryOp { op, left, right } if *op == of => {
            chain(left, of, parts);
            chain(right, of, parts);
        }
        other => parts.push(Tree::new(other)),
    }
}

/// Every attribute that an expression reads, each as far as it goes.
fn collect(expr: &Expr, reads: &mut Vec<Read>) {
    if let Some(names) = path(expr) {
        let text = read_text(expr);
        if !reads.iter().any(|read| read.names == names) {
            reads.push(Read { expression: text.parse().ok(), names, text });
        }
        return;
    }
    match expr {
        Expr::GetAttr { expr, .. }
        | Expr::HasAttr { expr, .. }
        | Expr::UnaryOp { expr, .. }
        | Expr::Like { expr, .. } => collect(expr, reads),
        Expr::BinaryOp { left, right, .. } => {
            collect(left, reads);
            collect(right, reads);
        }
        Expr::Is { expr, in_expr, .. } => {
            collect(expr, reads);
            in_expr.iter().for_each(|expr| collect(expr, reads));
        }
        Expr::IfThenElse { cond, then_expr, else_expr } => {
            [cond, then_expr, else_expr].into_iter().for_each(|expr| collect(expr, reads));
        }
        Expr::Set(items) => items.iter().for_each(|item| collect(item, reads)),
        Expr::Record(fields) => fields.values().for_each(|field| collect(field, reads)),
        _ => {}
    }
}

/// The names of `context.headers["x"]` and the like, when the expression is nothing but that.
fn path(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Var(var) => Some(vec![
            match var {
                Var::Principal => "principal",
                Var::Action => "action",
                Var::Resource => "resource",
                Var::Context => "context",
            }
            .to_owned(),
        ]),
        Expr::GetAttr { expr, attr } => extended(expr, [attr.as_str()]),
        Expr::HasAttr { expr, attrs } => extended(expr, attrs.iter().map(|attr| attr.as_str())),
        _ => None,
    }
}

fn extended<'a>(base: &Expr, names: impl IntoIterator<Item = &'a str>) -> Option<Vec<String>> {
    // An attribute of `has` would be an attribute of a boolean.
    let base = match base {
        Expr::Literal(cedar_policy::pst::Literal::EntityUID(uid)) => Some(vec![uid.to_string()]),
        Expr::HasAttr { .. } => None,
        base => path(base),
    };
    base.map(|base| base.into_iter().chain(names.into_iter().map(str::to_owned)).collect())
}

/// `resource.signals.p99_ms` for `resource.signals has p99_ms`: the attribute that is asked for.
fn read_text(expr: &Expr) -> String {
    let Expr::HasAttr { expr, attrs } = expr else { return expr.to_string() };
    let whole = attrs.iter().fold(Arc::clone(expr), |expr, attr| Arc::new(Expr::GetAttr { expr, attr: attr.clone() }));
    whole.to_string()
}
