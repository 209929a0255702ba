//! Which lists one reporter gets.

use std::collections::BTreeMap;

use tollgate_api::v1;
use tollgate_policies::Slice;

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

    /// What makes its lists those of a slice. A whole snapshot names those too that stay.
    ///
    /// INVARIANT: what a reporter holds of a list that its policies read is never taken away, only replaced: an engine that has no
    /// entries itself, or no room for them in this snapshot, must not open what a list keeps shut.
    pub(super) fn due(&self, slice: &Slice, lists: &PushedLists, is_whole: bool) -> Vec<v1::List> {
        let mut due = Vec::new();
        let mut bytes = 0;
        for name in slice.lists() {
            let (list, held) = (lists.get(&**name), self.held.get(&**name));
            let newer = list.filter(|list| held != Some(&list.digest));
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
            let gone = self.held.keys().filter(|name| !slice.lists().iter().any(|read| **read == ***name));
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
