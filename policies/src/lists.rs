//! Allow and deny lists: addresses, names and beginnings of names, from a file or a URL.
//!
//! A list is declared in `lists/*.yaml` of the policy directory. What is in it comes from elsewhere and changes by itself:
//! [`Keeper`] says which lists are due, takes what was fetched, and keeps the last good one when a source fails; it does no
//! I/O. Enforcers hold [`Lists`], and policies see the names of those that a request is on as a set,
//! `context.lists.contains("bad-addresses")`.

mod declaration;
mod keeper;
mod matching;

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_api::v1;

use crate::context::header;
use crate::facts::Facts;

pub use declaration::{Declaration, Kind, Looked, Origin};
pub use keeper::{Keeper, Outcome, State};
pub use matching::{List, ListError};

/// Lists by name, as they are now.
#[derive(Debug, Clone, Default)]
pub struct Lists(BTreeMap<Arc<str>, Held>);

#[derive(Debug, Clone)]
struct Held {
    digest: String,
    looked: Looked,
    list: Arc<List>,
}

impl Lists {
    /// These lists with others added, replaced and taken away. A whole snapshot takes away all that it does not name.
    ///
    /// # Errors
    /// Which one cannot be read, and why.
    pub fn with(&self, changed: &[v1::List], is_whole: bool) -> Result<Self, String> {
        let mut lists = if is_whole { Self::default() } else { self.clone() };
        for list in changed {
            if list.digest.is_empty() {
                lists.0.remove(list.name.as_str());
                continue;
            }
            let known = self.0.get_key_value(list.name.as_str()).filter(|(_, held)| held.digest == list.digest);
            let (name, held) = match known {
                Some((name, held)) => (Arc::clone(name), held.clone()),
                None => (Arc::from(list.name.as_str()), Held::read(list)?),
            };
            lists.0.insert(name, held);
        }
        Ok(lists)
    }

    /// Whether a request is on a list. On one that is not there it is not.
    #[must_use]
    pub fn is_on(&self, name: &str, facts: &Facts<'_>) -> bool {
        self.0.get(name).is_some_and(|held| held.has(facts))
    }

    /// Names of all lists that a request is on, in order.
    pub fn on<'a>(&'a self, facts: &'a Facts<'_>) -> impl Iterator<Item = &'a Arc<str>> {
        self.0.iter().filter(|(_, held)| held.has(facts)).map(|(name, _)| name)
    }

    /// Headers that are looked up.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.values().filter_map(|held| match &held.looked {
            Looked::Header(name) => Some(name),
            _ => None,
        })
    }

    /// Name and digest of each, for `WatchHello`.
    pub(crate) fn held(&self) -> Vec<v1::List> {
        let held = |(name, held): (&Arc<str>, &Held)| v1::List {
            name: name.to_string(),
            digest: held.digest.clone(),
            ..v1::List::default()
        };
        self.0.iter().map(held).collect()
    }
}

impl Held {
    fn read(list: &v1::List) -> Result<Self, String> {
        let unreadable = |problem: String| format!("list `{}`: {problem}", list.name);
        if list.held {
            return Err(unreadable("another one is held".to_owned()));
        }
        let kind = Kind::read(&list.kind).ok_or_else(|| unreadable(format!("of unknown kind `{}`", list.kind)))?;
        let looked = Looked::read(&list.of).ok_or_else(|| unreadable(format!("`{}` cannot be looked up", list.of)))?;
        let read = List::read(kind, &list.entries).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self { digest: list.digest.clone(), looked, list: Arc::new(read) })
    }

    fn has(&self, facts: &Facts<'_>) -> bool {
        match &self.looked {
            Looked::SourceAddress => facts.source_address.is_some_and(|address| self.list.has_address(address)),
            Looked::Source => self.list.has_text(facts.source),
            Looked::User => self.list.has_text(facts.user),
            Looked::Path => self.list.has_text(facts.path),
            Looked::Host => self.list.has_text(facts.host),
            Looked::UserAgent => self.list.has_text(facts.user_agent),
            Looked::Header(name) => header(facts, name).is_some_and(|value| self.list.has_text(value)),
        }
    }
}
