//! What a policy reads: found by walking its syntax once.

use std::collections::BTreeSet;

use cedar_policy::Policy;
use cedar_policy::pst::{Clause, Expr, Literal, Policy as Syntax, Var};

/// Everything that the conditions of a policy read. Its scope reads principal, action and resource only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// Attributes of `context`, by name.
    pub(crate) context: BTreeSet<String>,
    /// Headers, by name.
    pub(crate) headers: BTreeSet<String>,
    /// `context` is used as a whole, so that all of it counts as read.
    pub(crate) whole_context: bool,
    /// Entities that the conditions name, as type and id.
    pub(crate) literals: BTreeSet<(String, String)>,
    /// Attributes of entities, for checking their names.
    pub(crate) attributes: BTreeSet<AttributeUse>,
}

/// One use of an attribute of an entity, or of one of its signals.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AttributeUse {
    /// Entity type, where it is plain from the syntax.
    pub(crate) entity_type: Option<&'static str>,
    pub(crate) name: String,
    pub(crate) is_signal: bool,
}

impl Reads {
    /// Of one policy. What is not understood counts as reading the whole context.
    pub(crate) fn of(policy: &Policy) -> Self {
        let mut reads = Self::default();
        match policy.to_pst() {
            Ok(Syntax::Static(policy)) => reads.clauses(policy.body().clauses()),
            Ok(_) | Err(_) => reads.whole_context = true,
        }
        reads
    }

    /// Adds what another policy reads.
    pub(crate) fn add(&mut self, other: &Self) {
        self.context.extend(other.context.iter().cloned());
        self.headers.extend(other.headers.iter().cloned());
        self.whole_context |= other.whole_context;
        self.literals.extend(other.literals.iter().cloned());
        self.attributes.extend(other.attributes.iter().cloned());
    }

    pub(crate) fn reads_context(&self, name: &str) -> bool {
        self.whole_context || self.context.contains(name)
    }

    fn clauses(&mut self, clauses: &[Clause]) {
        for clause in clauses {
            match clause {
                Clause::When(condition) | Clause::Unless(condition) => self.walk(condition),
            }
        }
    }

    fn walk(&mut self, expr: &Expr) {
        match expr {
            Expr::Literal(Literal::EntityUID(uid)) => {
                self.literals.insert((uid.ty.to_string(), uid.eid.to_string()));
            }
            Expr::Literal(_) => {}
            Expr::Var(Var::Context) => self.whole_context = true,
            Expr::Var(_) => {}
            Expr::GetAttr { .. } | Expr::HasAttr { .. } => self.path(expr),
            Expr::UnaryOp { expr, .. } | Expr::Like { expr, .. } => self.walk(expr),
            Expr::BinaryOp { left, right, .. } => {
                self.walk(left);
                self.walk(right);
            }
            Expr::Is { expr, in_expr, .. } => {
                self.walk(expr);
                in_expr.iter().for_each(|expr| self.walk(expr));
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                [cond, then_expr, else_expr].into_iter().for_each(|expr| self.walk(expr));
            }
            Expr::Set(items) => items.iter().for_each(|item| self.walk(item)),
            Expr::Record(fields) => fields.values().for_each(|field| self.walk(field)),
            // The syntax tree may grow: what is new counts as reading everything.
            _ => self.whole_context = true,
        }
    }

    /// `context.headers["x"]`, `resource.signals has p99_ms`: an attribute of an attribute of something.
    fn path(&mut self, expr: &Expr) {
        let mut names = Vec::new();
        let mut base = expr;
        loop {
            match base {
                Expr::GetAttr { expr, attr } => {
                    names.push(attr.as_str());
                    base = expr;
                }
                // Only outermost: what `has` gives is no record, so that nothing can be read of it.
                Expr::HasAttr { expr, attrs } if names.is_empty() => {
                    names.extend(attrs.iter().rev().map(|attr| attr.as_str()));
                    base = expr;
                }
                _ => break,
            }
        }
        names.reverse();
        match base {
            Expr::Var(Var::Context) => self.context_path(&names),
            Expr::Var(Var::Principal | Var::Resource) => self.entity_path(Some(crate::model::SERVICE), &names),
            Expr::Var(_) => {}
            other => {
                self.entity_path(None, &names);
                self.walk(other);
            }
        }
    }

    fn context_path(&mut self, names: &[&str]) {
        let Some((first, rest)) = names.split_first() else { return };
        self.context.insert((*first).to_owned());
        match (*first, rest) {
            ("headers", [name, ..]) => {
                self.headers.insert((*name).to_owned());
            }
            ("user", rest @ [_, ..]) => self.entity_path(Some(crate::model::USER), rest),
            _ => {}
        }
    }

    fn entity_path(&mut self, entity_type: Option<&'static str>, names: &[&str]) {
        if let (Some(_), Some(name)) = (entity_type, names.first()) {
            self.attributes.insert(AttributeUse { entity_type, name: (*name).to_owned(), is_signal: false });
        }
        for pair in names.windows(2).filter(|pair| pair[0] == crate::model::SIGNALS) {
            let entity_type = entity_type.filter(|_| names[0] == crate::model::SIGNALS);
            self.attributes.insert(AttributeUse { entity_type, name: pair[1].to_owned(), is_signal: true });
        }
    }
}
