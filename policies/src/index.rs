//! Finds the policies whose scopes match a request, without looking at the others.
//!
//! A policy is kept under what its scope says of the called service, and below that of the caller: an entity, a type, or
//! anything. A request is met by the policies under its own two entities and under everything that these are in.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, EntityUid};
use smallvec::SmallVec;

use crate::model::{ACTION, METHODS};
use crate::rule::{Constraint, Rule};
use crate::world::Place;

/// Places of policies in [`Loaded::rules`](crate::loaded::Loaded).
pub(crate) type Indices = SmallVec<[u32; 4]>;

/// Policies by scope.
#[derive(Debug, Default)]
pub(crate) struct Index {
    symbols: Symbols,
    by_resource: HashMap<Symbol, HashMap<Symbol, Vec<Entry>>>,
}

/// An entity or a type that some scope names; comparing two is comparing integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Symbol(u32);

const ANYTHING: Symbol = Symbol(0);

#[derive(Debug, Default)]
struct Symbols {
    entities: HashMap<EntityUid, Symbol>,
    types: HashMap<String, Symbol>,
}

#[derive(Debug)]
struct Entry {
    rule: u32,
    /// One bit for each of [`METHODS`].
    actions: u16,
    principal: Narrowed,
    resource: Narrowed,
}

/// What a scope asks for beyond the symbol that it is kept under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Narrowed {
    No,
    /// The entity itself, and nothing that is in it.
    Itself,
    OfType(Symbol),
}

/// What an entity of a request is to scopes.
struct Standing {
    of_type: Option<Symbol>,
    /// The entity itself, if any scope names it.
    itself: Option<Symbol>,
    above: SmallVec<[Symbol; 8]>,
}

impl Index {
    /// Of these policies; those that can never change an answer are left out.
    pub(crate) fn new(rules: &[Arc<Rule>]) -> Self {
        let mut index = Self::default();
        for (place, rule) in rules.iter().enumerate() {
            let actions = actions(&rule.action);
            // A `permit` in shadow mode could never have refused a request.
            let is_idle = rule.shadow && !rule.is_forbid && rule.shaping.is_none();
            if actions == 0 || is_idle {
                continue;
            }
            let (resource_key, resource) = index.symbols.key(&rule.resource);
            let (principal_key, principal) = index.symbols.key(&rule.principal);
            let entry = Entry { rule: place as u32, actions, principal, resource };
            index.by_resource.entry(resource_key).or_default().entry(principal_key).or_default().push(entry);
        }
        index
    }

    /// The policies whose scopes match, in order. `action` is a place in [`METHODS`].
    pub(crate) fn find(&self, principal: &Place, action: usize, resource: &Place) -> Indices {
        let (principal, resource) = (self.symbols.standing(principal), self.symbols.standing(resource));
        let mut found = Indices::new();
        for (resource_key, by_principal) in resource.keys().filter_map(|key| Some((key, self.by_resource.get(&key)?))) {
            for (principal_key, entries) in principal.keys().filter_map(|key| Some((key, by_principal.get(&key)?))) {
                let matching = entries.iter().filter(|entry| {
                    entry.actions & 1 << action != 0
                        && principal.fits(principal_key, entry.principal)
                        && resource.fits(resource_key, entry.resource)
                });
                found.extend(matching.map(|entry| entry.rule));
            }
        }
        found.sort_unstable();
        found
    }
}

impl Symbols {
    fn key(&mut self, constraint: &Constraint) -> (Symbol, Narrowed) {
        match constraint {
            Constraint::Any => (ANYTHING, Narrowed::No),
            Constraint::Eq(uid) => (self.entity(uid), Narrowed::Itself),
            Constraint::In(uid) => (self.entity(uid), Narrowed::No),
            Constraint::Is(of_type) => (self.of_type(&of_type.to_string()), Narrowed::No),
            Constraint::IsIn(of_type, uid) => (self.entity(uid), Narrowed::OfType(self.of_type(&of_type.to_string()))),
        }
    }

    fn entity(&mut self, uid: &EntityUid) -> Symbol {
        let next = self.next();
        *self.entities.entry(uid.clone()).or_insert(next)
    }

    fn of_type(&mut self, name: &str) -> Symbol {
        let next = self.next();
        *self.types.entry(name.to_owned()).or_insert(next)
    }

    fn next(&self) -> Symbol {
        Symbol(1 + (self.entities.len() + self.types.len()) as u32)
    }

    fn standing(&self, place: &Place) -> Standing {
        Standing {
            of_type: self.types.get(place.of_type).copied(),
            itself: self.entities.get(&place.uid).copied(),
            above: place.ancestors.iter().filter_map(|uid| self.entities.get(uid)).copied().collect(),
        }
    }
}

impl Standing {
    /// What policies that match are kept under. INVARIANT: no key comes twice, as nothing is in itself.
    fn keys(&self) -> impl Iterator<Item = Symbol> {
        [ANYTHING].into_iter().chain(self.of_type).chain(self.itself).chain(self.above.iter().copied())
    }

    fn fits(&self, found_under: Symbol, narrowed: Narrowed) -> bool {
        match narrowed {
            Narrowed::No => true,
            Narrowed::Itself => self.itself == Some(found_under),
            Narrowed::OfType(of_type) => self.of_type == Some(of_type),
        }
    }
}

/// The methods whose action a constraint matches.
fn actions(constraint: &ActionConstraint) -> u16 {
    let is_named = |uid: &EntityUid, id: &str| uid.type_name().to_string() == ACTION && uid.id().unescaped() == id;
    let matches = |(method, group): &(&str, &str)| match constraint {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => is_named(uid, method),
        ActionConstraint::In(uids) => uids.iter().any(|uid| is_named(uid, method) || is_named(uid, group)),
    };
    let bits = METHODS.iter().enumerate().filter(|(_, method)| matches(method));
    bits.fold(0, |bits, (index, _)| bits | 1 << index)
}
