//! What a policy reads: found by walking its syntax once.

use std::collections::BTreeSet;

use cedar_policy::Policy;
use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, Policy as Syntax, Var};

use crate::model::{LISTS, SERVICE, SIGNALS, USER};

/// Everything that the conditions of a policy read. Its scope reads principal, action and resource only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// Attributes of `context`, by name.
    pub(crate) context: BTreeSet<String>,
    /// Headers, by name.
    pub(crate) headers: BTreeSet<String>,
    /// `context` is used as a whole, so that all of it counts as read.
    pub(crate) whole_context: bool,
    /// `context.headers` is used as a whole.
    pub(crate) whole_headers: bool,
    /// Lists, by name.
    pub(crate) lists: BTreeSet<String>,
    /// `context.lists` is used as a whole.
    pub(crate) whole_lists: bool,
    /// Something is asked about entities: an attribute of one, or what one is in.
    pub(crate) entities: bool,
    /// Signals, and of which entity.
    pub(crate) signals: BTreeSet<SignalRead>,
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

/// One use of a signal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SignalRead {
    pub(crate) of: Whose,
    /// `None`: all signals of the entity.
    pub(crate) name: Option<String>,
}

/// The entity whose signal is read, as far as that is plain from the syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    Principal,
    Resource,
    Any,
}

impl Reads {
    /// Of one policy. What is not understood counts as reading the whole context.
    pub(crate) fn of(policy: &Policy) -> Self {
        let mut reads = Self::default();
        match policy.to_pst() {
            Ok(Syntax::Static(policy)) => reads.clauses(policy.body().clauses()),
            Ok(_) | Err(_) => reads.everything(),
        }
        reads
    }

    fn everything(&mut self) {
        self.whole_context = true;
        self.entities = true;
        self.signals.insert(SignalRead { of: Whose::Any, name: None });
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
            Expr::BinaryOp { op, left, right } if self.is_lists(op, left, right) => {}
            Expr::BinaryOp { op, left, right } => {
                self.entities |= matches!(op, BinaryOp::In | BinaryOp::GetTag | BinaryOp::HasTag);
                self.walk(left);
                self.walk(right);
            }
            Expr::Is { expr, in_expr, .. } => {
                self.entities |= in_expr.is_some();
                self.walk(expr);
                in_expr.iter().for_each(|expr| self.walk(expr));
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                [cond, then_expr, else_expr].into_iter().for_each(|expr| self.walk(expr));
            }
            Expr::Set(items) => items.iter().for_each(|item| self.walk(item)),
            Expr::Record(fields) => fields.values().for_each(|field| self.walk(field)),
            // The syntax tree may grow: what is new counts as reading everything.
            _ => self.everything(),
        }
    }

    /// `context.lists.contains("bad")`, or `containsAny(["a", "b"])`: of all lists only these are read.
    fn is_lists(&mut self, op: &BinaryOp, left: &Expr, right: &Expr) -> bool {
        let is_contains = matches!(op, BinaryOp::Contains | BinaryOp::ContainsAll | BinaryOp::ContainsAny);
        let Expr::GetAttr { expr, attr } = left else { return false };
        if !is_contains || attr.as_str() != LISTS || !matches!(&**expr, Expr::Var(Var::Context)) {
            return false;
        }
        let items = match right {
            Expr::Set(items) => items.iter().map(|item| &**item).collect(),
            other => vec![other],
        };
        let name = |item: &&Expr| match item {
            Expr::Literal(Literal::String(name)) => Some(name.to_string()),
            _ => None,
        };
        let Some(names) = items.iter().map(name).collect::<Option<Vec<_>>>() else { return false };
        self.context.insert(LISTS.to_owned());
        self.lists.extend(names);
        true
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
            Expr::Var(Var::Principal) => self.entity_path(Some(SERVICE), Whose::Principal, &names),
            Expr::Var(Var::Resource) => self.entity_path(Some(SERVICE), Whose::Resource, &names),
            Expr::Var(_) => self.entities = true,
            other => {
                self.entity_path(None, Whose::Any, &names);
                self.walk(other);
            }
        }
    }

    fn context_path(&mut self, names: &[&str]) {
        let Some((first, rest)) = names.split_first() else { return };
        self.context.insert((*first).to_owned());
        match (*first, rest) {
            ("headers", [name, ..]) => drop(self.headers.insert((*name).to_owned())),
            ("headers", []) => self.whole_headers = true,
            (LISTS, _) => self.whole_lists = true,
            ("user", rest @ [_, ..]) => self.entity_path(Some(USER), Whose::Any, rest),
            _ => {}
        }
    }

    fn entity_path(&mut self, entity_type: Option<&'static str>, of: Whose, names: &[&str]) {
        self.entities = true;
        if let (Some(_), Some(name)) = (entity_type, names.first()) {
            self.attributes.insert(AttributeUse { entity_type, name: (*name).to_owned(), is_signal: false });
        }
        for (index, _) in names.iter().enumerate().filter(|(_, name)| **name == SIGNALS) {
            let name = names.get(index + 1).map(|name| (*name).to_owned());
            if let Some(name) = &name {
                let entity_type = entity_type.filter(|_| index == 0);
                self.attributes.insert(AttributeUse { entity_type, name: name.clone(), is_signal: true });
            }
            // Further along the path it is a signal of whatever the attribute before it refers to.
            self.signals.insert(SignalRead { of: if index == 0 { of } else { Whose::Any }, name });
        }
    }
}
