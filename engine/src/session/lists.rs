//! Which lists one reporter gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_api::v1;

use crate::lists::PushedLists;

/// Most bytes of lists in one snapshot, or one list: what is more comes with the next, at once.
const BYTES_MAX: usize = 64 << 20;

/// The lists that a reporter holds: digest by name.
pub(super) struct ListsHeld {
    held: BTreeMap<String, String>,
}

impl ListsHeld {
    pub(super) fn new(hello: &v1::WatchHello) -> Self {
        let held = hello.lists.iter().map(|list| (list.name.clone(), list.digest.clone()));
        Self { held: held.collect() }
    }

    /// What makes its lists those that its policies read. A whole snapshot names those too that stay.
    ///
    /// INVARIANT: what a reporter holds of a list that its policies read is never taken away, only replaced, be it by another list that
    /// was never fetched: an engine that has no entries itself, or no room for them in this snapshot, must not open what a list keeps shut.
    pub(super) fn due(&self, read: &[Arc<str>], lists: &PushedLists, is_whole: bool) -> Vec<v1::List> {
        let mut due = Vec::new();
        let mut bytes = 0;
        for name in read {
            let (list, held) = (lists.get(&**name), self.held.get(&**name));
            // The digest of a list that was never fetched is what those of all its entries begin with.
            let newer = list.filter(|list| !held.is_some_and(|held| held.starts_with(&list.digest)));
            match newer.filter(|list| bytes == 0 || bytes + list.entries.len() <= BYTES_MAX) {
                Some(list) => {
                    bytes += list.entries.len();
                    due.push(list.clone());
                }
                None => due.extend(held.filter(|_| is_whole).map(|digest| v1::List {
                    name: name.to_string(),
                    digest: digest.clone(),
                    held: true,
                    ..v1::List::default()
                })),
            }
        }
        if !is_whole {
            let gone = self.held.keys().filter(|name| !read.iter().any(|read| **read == ***name));
            due.extend(gone.map(|name| v1::List { name: name.clone(), ..v1::List::default() }));
        }
        due
    }

    /// These were pushed.
    pub(super) fn pushed(&mut self, lists: &[v1::List], is_whole: bool) {
        if is_whole {
            self.held.clear();
        }
        for list in lists {
            if list.digest.is_empty() {
                self.held.remove(&list.name);
            } else {
                self.held.insert(list.name.clone(), list.digest.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, digest: &str, bytes: usize) -> v1::List {
        v1::List {
            name: name.to_owned(),
            digest: digest.to_owned(),
            entries: vec![b'a'; bytes].into(),
            ..v1::List::default()
        }
    }

    fn pushed(lists: &[v1::List]) -> PushedLists {
        lists.iter().map(|list| (list.name.clone(), list.clone())).collect()
    }

    /// Name, digest and whether it is said to stay.
    fn said(due: &[v1::List]) -> Vec<(&str, &str, bool)> {
        due.iter().map(|list| (list.name.as_str(), list.digest.as_str(), list.held)).collect()
    }

    #[test]
    fn a_reporter_gets_what_its_policies_read_and_it_does_not_hold() {
        let hello =
            v1::WatchHello { lists: vec![list("a", "1-x", 0), list("old", "2-x", 0)], ..v1::WatchHello::default() };
        let mut held = ListsHeld::new(&hello);
        let read = ["a".into(), "b".into()];
        let lists = pushed(&[list("a", "1-x", 1), list("b", "3-x", 1), list("unread", "4-x", 1)]);
        assert_eq!(said(&held.due(&read, &lists, false)), [("b", "3-x", false), ("old", "", false)]);
        let whole = held.due(&read, &lists, true);
        assert_eq!(said(&whole), [("a", "1-x", true), ("b", "3-x", false)]);
        held.pushed(&whole, true);
        assert_eq!(held.due(&read, &lists, false), []);
        let lists = pushed(&[list("a", "1-y", 1), list("b", "3-x", 1)]);
        assert_eq!(said(&held.due(&read, &lists, false)), [("a", "1-y", false)]);
    }

    #[test]
    fn what_is_held_stays_over_an_engine_that_knows_nothing_and_goes_with_its_source() {
        let hello = v1::WatchHello { lists: vec![list("a", "1-x", 0)], ..v1::WatchHello::default() };
        let (held, read) = (ListsHeld::new(&hello), ["a".into()]);
        for lists in [PushedLists::new(), pushed(&[list("a", "1-", 0)])] {
            assert_eq!(held.due(&read, &lists, false), []);
            assert_eq!(said(&held.due(&read, &lists, true)), [("a", "1-x", true)]);
        }
        let of_another_source = pushed(&[list("a", "2-", 0)]);
        assert_eq!(said(&held.due(&read, &of_another_source, false)), [("a", "2-", false)]);
    }

    #[test]
    fn what_has_no_room_comes_with_the_next() {
        let lists = pushed(&[list("a", "1-x", BYTES_MAX - 10), list("b", "2-x", 11), list("c", "3-x", 10)]);
        let mut held = ListsHeld::new(&v1::WatchHello::default());
        let read = ["a".into(), "b".into(), "c".into()];
        let first = held.due(&read, &lists, true);
        assert_eq!(said(&first), [("a", "1-x", false), ("c", "3-x", false)]);
        held.pushed(&first, true);
        assert_eq!(said(&held.due(&read, &lists, false)), [("b", "2-x", false)]);
    }
}
