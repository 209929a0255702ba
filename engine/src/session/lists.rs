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
    pub(super) fn due(&self, slice: &Slice, lists: &PushedLists, is_whole: bool) -> Vec<v1::List> {
        let mut due = Vec::new();
        let mut bytes = 0;
        let wanted = || slice.lists().iter().filter_map(|name| lists.get(&**name));
        for list in wanted() {
            if self.held.get(&list.name) == Some(&list.digest) {
                let (name, digest) = (list.name.clone(), list.digest.clone());
                due.extend(is_whole.then(|| v1::List { name, digest, held: true, ..v1::List::default() }));
            } else if bytes == 0 || bytes + list.entries.len() <= BYTES_MAX {
                bytes += list.entries.len();
                due.push(list.clone());
            }
        }
        if !is_whole {
            let gone = self.held.keys().filter(|name| !wanted().any(|list| list.name == **name));
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
