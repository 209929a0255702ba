//! Ids of policies, in the order in which the policies are written.

use std::ops::Deref;
use std::sync::Arc;

use smallvec::SmallVec;

/// A list of policy ids: a slice of texts. Cloning one that came out of the cache copies nothing.
#[derive(Clone, Default)]
pub struct PolicyIds(Held);

#[derive(Clone)]
enum Held {
    Shared(Arc<[Arc<str>]>),
    Own(SmallVec<[Arc<str>; 4]>),
}

impl PolicyIds {
    pub(crate) fn shared(ids: impl ExactSizeIterator<Item = Arc<str>>) -> Self {
        if ids.len() == 0 { Self::default() } else { Self(Held::Shared(ids.collect())) }
    }

    pub(crate) fn push(&mut self, id: Arc<str>) {
        self.own().push(id);
    }

    pub(crate) fn extend(&mut self, ids: &[Arc<str>]) {
        if !ids.is_empty() {
            self.own().extend(ids.iter().cloned());
        }
    }

    fn own(&mut self) -> &mut SmallVec<[Arc<str>; 4]> {
        if let Held::Shared(ids) = &self.0 {
            self.0 = Held::Own(ids.iter().cloned().collect());
        }
        match &mut self.0 {
            Held::Own(ids) => ids,
            Held::Shared(_) => unreachable!("it was replaced just now"),
        }
    }
}

impl Deref for PolicyIds {
    type Target = [Arc<str>];

    fn deref(&self) -> &Self::Target {
        match &self.0 {
            Held::Shared(ids) => ids,
            Held::Own(ids) => ids,
        }
    }
}

impl Default for Held {
    fn default() -> Self {
        Self::Own(SmallVec::new())
    }
}

impl FromIterator<Arc<str>> for PolicyIds {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(ids: I) -> Self {
        Self(Held::Own(ids.into_iter().collect()))
    }
}

impl std::fmt::Debug for PolicyIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
