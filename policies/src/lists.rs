//! Allow and deny lists: addresses, names and beginnings of names, from a file or a URL.
//!
//! A list is declared in `lists/*.yaml` of the policy directory. What is in it comes from elsewhere and changes by itself:
//! [`Keeper`] says which lists are due, takes what was fetched, and keeps the last good one when a source fails. It does
//! no I/O, and nothing in this version fetches for it: [`compile`](crate::compile()) only checks declarations. [`Lists::on`]
//! says which lists a request is on, which is what policies are to see as a set of names,
//! `context.lists.contains("bad-addresses")`.

mod declaration;
mod keeper;
mod matching;

use std::sync::Arc;

use crate::context::header;
use crate::facts::Facts;

pub use declaration::{Declaration, Kind, Looked, Origin};
pub use keeper::{Keeper, Outcome, State};
pub use matching::{List, ListError};

/// Every list, as it is now.
#[derive(Debug, Clone, Default)]
pub struct Lists(Vec<(Declaration, Arc<List>)>);

impl Lists {
    /// Names of the lists that a request is on, in order.
    pub fn on<'a>(&'a self, facts: &Facts<'_>) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(|(declaration, list)| match &declaration.looked {
                Looked::SourceAddress => facts.source_address.is_some_and(|address| list.has_address(address)),
                Looked::Source => list.has_text(facts.source),
                Looked::User => list.has_text(facts.user),
                Looked::Path => list.has_text(facts.path),
                Looked::Host => list.has_text(facts.host),
                Looked::UserAgent => list.has_text(facts.user_agent),
                Looked::Header(name) => header(facts, name).is_some_and(|value| list.has_text(value)),
            })
            .map(|(declaration, _)| declaration.name.as_str())
    }
}
