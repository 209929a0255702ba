//! What is known of requests that were recorded, and what of them nobody can know afterwards.

use std::collections::BTreeSet;

use crate::model::{LISTS, SIGNALS};
use crate::tools::asked::RequestFacts;

/// What is known of the requests at hand beyond what their rows always hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Headers that the rows hold; `None` for all.
    pub headers: Option<BTreeSet<String>>,
    /// Whether the signals of the time are known.
    pub signals: bool,
    /// Whether each request's time is known.
    pub time: bool,
    /// Whether the lists that each request was on are known.
    pub lists: bool,
}

impl Default for Recorded {
    fn default() -> Self {
        Self { headers: None, signals: true, time: true, lists: true }
    }
}

impl Recorded {
    /// Whether nothing was left out.
    pub(super) fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an attribute, such as `["context", "headers", "x-tenant"]`, is not known of any request.
    pub(super) fn lacks(&self, names: &[String]) -> bool {
        match names {
            [first, second, rest @ ..] if first == "context" => match second.as_str() {
                "time" => !self.time,
                "claims" => true,
                LISTS => !self.lists,
                "headers" => match (&self.headers, rest.first()) {
                    (Some(headers), Some(name)) => !headers.contains(name),
                    (Some(_), None) => true,
                    (None, _) => false,
                },
                "user" => !self.signals && rest.first().is_some_and(|name| name == SIGNALS),
                _ => false,
            },
            [first] if first == "context" => self.headers.is_some() || !self.time || !self.lists,
            [_, second, ..] if second == SIGNALS => !self.signals,
            _ => false,
        }
    }

    /// Whether it is not known of this request: a header that its row holds was recorded, whatever others have.
    pub(super) fn lacks_of(&self, facts: &RequestFacts, names: &[String]) -> bool {
        let is_held = match names {
            [first, second, name, ..] => first == "context" && second == "headers" && facts.labels.contains_key(name),
            _ => false,
        };
        !is_held && self.lacks(names)
    }
}
