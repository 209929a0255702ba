//! What the conditions of policies can see, made small: the part of a request, and of the world, that an answer follows from.

use std::sync::Arc;

use cedar_policy::EntityUid;

use crate::facts::Facts;
use crate::lists::Lists;
use crate::model::{self, ContextType};
use crate::reads::{Reads, Whose};
use crate::rule::Sight;
use crate::world;

/// Attributes of `context` that a caller's own proxy knows as surely as the called side's.
const KNOWN_TO_CALLER: &[&str] = &["method", "path", "host", "headers", "user_agent"];
/// Headers that a proxy, or a hop between the two sides, adds or changes: the called side reads others.
const CHANGED_ON_THE_WAY: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
    "x-request-id",
];
const PREFIXES_CHANGED_ON_THE_WAY: &[&str] = &["proxy-", "x-forwarded-", "x-tollgate-"];

/// Everything that an answer can depend on beyond caller, called service and method.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// One bit for each attribute of [`model::context`].
    context: u32,
    /// Lower-case names, in order.
    pub(crate) headers: Vec<Arc<str>>,
    pub(crate) whole_context: bool,
    /// All headers that any policy names are seen as one record.
    pub(crate) all_headers: bool,
    /// Names, in order.
    pub(crate) lists: Vec<Arc<str>>,
    /// All lists are seen as one set.
    pub(crate) all_lists: bool,
    /// Something is asked about entities; without that Cedar needs none.
    pub(crate) entities: bool,
    /// Entities that conditions name.
    pub(crate) literals: Vec<EntityUid>,
    pub(crate) signals: Vec<SignalNeed>,
}

/// A signal, and of which entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SignalNeed {
    pub(crate) of: Whose,
    /// `None`: all signals of the entity.
    pub(crate) name: Option<Arc<str>>,
}

impl Needs {
    /// In its small form.
    pub(crate) fn of(reads: &Reads) -> Result<Self, String> {
        let is_read = |name: &str| reads.whole_context || reads.context.contains(name);
        let bits = model::context().iter().enumerate().filter(|(_, (name, ..))| is_read(name));
        let literals = reads.literals.iter().filter(|_| reads.entities);
        let signals = reads.signals.iter();
        Ok(Self {
            context: bits.fold(0, |bits, (index, _)| bits | 1 << index),
            headers: reads.headers.iter().map(|name| Arc::from(name.as_str())).collect(),
            whole_context: reads.whole_context,
            all_headers: reads.whole_headers || reads.whole_context,
            lists: reads.lists.iter().map(|name| Arc::from(name.as_str())).collect(),
            all_lists: reads.whole_lists || reads.whole_context,
            entities: reads.entities,
            literals: literals.map(|(of_type, id)| world::uid(of_type, id)).collect::<Result<_, _>>()?,
            signals: signals
                .map(|read| SignalNeed { of: read.of, name: read.name.as_deref().map(Arc::from) })
                .collect(),
        })
    }

    /// Adds what another policy needs.
    pub(crate) fn add(&mut self, other: &Self) {
        self.add_names(other);
        for literal in &other.literals {
            if !self.literals.contains(literal) {
                self.literals.push(literal.clone());
            }
        }
    }

    /// The same without the entities that conditions name, of which ten thousand policies have too many to look for each.
    pub(crate) fn add_names(&mut self, other: &Self) {
        self.context |= other.context;
        self.whole_context |= other.whole_context;
        self.all_headers |= other.all_headers;
        self.all_lists |= other.all_lists;
        self.entities |= other.entities;
        merge(&mut self.headers, &other.headers);
        merge(&mut self.lists, &other.lists);
        merge(&mut self.signals, &other.signals);
    }

    /// Calls `visit` with the lists that a request is on, of those that are seen.
    pub(crate) fn on_lists<'a>(&'a self, lists: &'a Lists, facts: &'a Facts<'a>, visit: impl FnMut(&'a Arc<str>)) {
        if self.all_lists {
            lists.on(facts).for_each(visit);
        } else {
            self.lists.iter().filter(|name| lists.is_on(name, facts)).for_each(visit);
        }
    }

    /// Attributes of the context that are seen, in the model's order.
    pub(crate) fn context(&self) -> impl Iterator<Item = &'static (&'static str, ContextType, bool)> {
        let bits = self.context;
        model::context().iter().enumerate().filter(move |(index, _)| bits & 1 << index != 0).map(|(_, entry)| entry)
    }

    /// Whether a caller's own proxy reads the same as the called side's.
    pub(crate) fn is_known_to_caller(&self, sight: Sight) -> bool {
        let has_signals = sight == Sight::Live || self.signals.is_empty();
        let has_headers = !self.all_headers && self.headers.iter().all(|name| arrives_as_sent(name));
        has_signals
            && has_headers
            && !self.whole_context
            && self.context().all(|(name, ..)| KNOWN_TO_CALLER.contains(name))
    }

    /// Whether the answer may change as time passes.
    pub(crate) fn has_time(&self) -> bool {
        self.context().any(|(_, of_type, _)| *of_type == ContextType::Time)
    }

    /// Whether something is asked about the end user's entity.
    pub(crate) fn has_user_entity(&self) -> bool {
        self.entities && self.context().any(|(_, of_type, _)| *of_type == ContextType::User)
    }
}

/// Whether the called side reads of this header what the caller's own proxy does.
fn arrives_as_sent(header: &str) -> bool {
    let is_changed = |prefix: &&str| header.starts_with(prefix);
    !CHANGED_ON_THE_WAY.contains(&header) && !PREFIXES_CHANGED_ON_THE_WAY.iter().any(is_changed)
}

fn merge<T: Clone + Ord>(into: &mut Vec<T>, from: &[T]) {
    if from.iter().any(|item| into.binary_search(item).is_err()) {
        into.extend_from_slice(from);
        into.sort_unstable();
        into.dedup();
    }
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    fn needs(condition: &str) -> Needs {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        Needs::of(&Reads::of(&Policy::parse(None, text).unwrap())).unwrap()
    }

    fn seen(condition: &str) -> String {
        let needs = needs(condition);
        let context: Vec<_> = needs.context().map(|(name, ..)| *name).collect();
        let signal = |need: &SignalNeed| format!("{:?}.{}", need.of, need.name.as_deref().unwrap_or("*"));
        let signals: Vec<_> = needs.signals.iter().map(signal).collect();
        format!("[{}] [{}] [{}] {}", context.join(","), needs.headers.join(","), signals.join(","), needs.entities)
    }

    #[test]
    fn sees_what_conditions_read_and_no_more() {
        assert_eq!(seen("true"), "[] [] [] false");
        assert_eq!(seen("context.path == \"/\" || context has route"), "[path,route] [] [] false");
        assert_eq!(seen("principal == resource"), "[] [] [] false");
        assert_eq!(seen("context.lists.contains(\"a\")"), "[lists] [] [] false");
        assert_eq!(seen("principal in Group::\"a\""), "[] [] [] true");
        assert_eq!(seen("context.headers[\"x-a\"] == \"1\""), "[headers] [x-a] [] false");
        assert_eq!(seen("context has user && context.user == User::\"a\""), "[user] [] [] false");
        assert_eq!(seen("context.user.age > 3"), "[user] [] [] true");
        assert_eq!(seen("resource.signals.p99_ms > 3"), "[] [] [Resource.p99_ms] true");
        assert_eq!(seen("principal has signals.p99_ms"), "[] [] [Principal.p99_ms] true");
        assert_eq!(seen("resource.owner.signals.a == 1"), "[] [] [Any.a] true");
        assert_eq!(seen("principal.signals == resource.signals"), "[] [] [Principal.*,Resource.*] true");
        assert_eq!(
            seen("(if context.is_mtls then principal else resource).signals.a == 1"),
            "[is_mtls] [] [Any.a] true"
        );
    }

    #[test]
    fn a_record_as_a_whole_is_all_of_it() {
        assert!(needs("context == {}").whole_context);
        assert!(needs("context.headers == {}").all_headers);
        assert!(needs("context == {}").all_lists && needs("context.lists.contains(context.path)").all_lists);
        let named = needs("context.lists.contains(\"b\") || context.lists.containsAny([\"a\", \"b\"])");
        assert_eq!((named.lists.join(","), named.all_lists), ("a,b".to_owned(), false));
        assert!(needs("context == {}").has_time());
        assert!(!needs("context.path == \"\"").has_time());
    }
}
