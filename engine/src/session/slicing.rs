//! Which policies one reporter gets, and whether whole or as a delta.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tollgate_api::v1;
use tollgate_policies::{Slice, Slices, Standpoint};

use crate::published::Published;

/// Slices that reporters may come back with.
const RECENT_MAX: usize = 256;

/// The newest slices that were pushed, so that a reporter that comes back with one gets what has changed since.
///
/// Bound: 256. They share the policies that they have in common with each other and with those in force. A reporter that comes
/// back with an older one gets all of its policies again.
#[derive(Default)]
pub(crate) struct RecentSlices(Mutex<VecDeque<Arc<Slice>>>);

impl RecentSlices {
    fn note(&self, slice: &Arc<Slice>) {
        let mut recent = self.0.lock();
        if recent.iter().any(|known| known.digest() == slice.digest()) {
            return;
        }
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(slice));
    }

    fn find(&self, digest: &str) -> Option<Arc<Slice>> {
        self.0.lock().iter().find(|slice| slice.digest() == digest).cloned()
    }
}

/// Where a reporter stands, as it said itself.
pub(super) struct Place {
    /// `None`: it is asked about every service.
    standpoint: Option<Standpoint>,
    takes_deltas: bool,
    /// Digest of the policies that it came with.
    came_with: String,
}

/// What is due to a reporter.
pub(super) enum Policies {
    Same,
    Whole(v1::Policies),
    Delta(Arc<v1::PoliciesDelta>),
}

impl Place {
    pub(super) fn new(hello: &v1::WatchHello) -> Self {
        let narrow = hello.standpoint.as_ref().filter(|said| !said.everywhere);
        let standpoint = narrow.map(|said| Standpoint {
            called: hello.services.clone(),
            calling: said.calling.clone(),
            calls: said.calls.clone(),
        });
        Self { standpoint, takes_deltas: hello.standpoint.is_some(), came_with: hello.policies_digest.clone() }
    }

    /// The policies of a state that can matter there. `before` is what was cut of the state before.
    pub(super) fn cut(&self, newest: &Published, before: Option<(&Published, &Arc<Slice>)>) -> Arc<Slice> {
        let same = before.filter(|(before, _)| Arc::ptr_eq(&before.slices, &newest.slices));
        same.map_or_else(|| newest.slices.cut(self.standpoint.as_ref()), |(_, slice)| Arc::clone(slice))
    }

    /// How to bring it about. `sent` was pushed before on the same stream.
    pub(super) fn policies(
        &self,
        slices: &Slices,
        sent: Option<&Arc<Slice>>,
        slice: &Arc<Slice>,
        recent: &RecentSlices,
    ) -> Policies {
        match sent {
            Some(sent) if sent.digest() == slice.digest() => return Policies::Same,
            Some(sent) if self.takes_deltas => return Policies::Delta(slices.delta(sent, slice)),
            None if self.takes_deltas && self.came_with == slice.digest() => {
                return Policies::Delta(slices.delta(slice, slice));
            }
            None if self.takes_deltas => {
                if let Some(held) = recent.find(&self.came_with) {
                    return Policies::Delta(slices.delta(&held, slice));
                }
            }
            _ => {}
        }
        Policies::Whole(slice.to_proto())
    }

    pub(super) fn pushed(&self, slice: &Arc<Slice>, recent: &RecentSlices) {
        if self.takes_deltas {
            recent.note(slice);
        }
    }
}

impl Policies {
    /// Whether the reporter has to do anything about it.
    pub(super) fn is_change(&self) -> bool {
        match self {
            Self::Same => false,
            Self::Whole(_) => true,
            Self::Delta(delta) => delta.from != delta.digest,
        }
    }

    pub(super) fn into_parts(self) -> (Option<v1::Policies>, Option<v1::PoliciesDelta>) {
        match self {
            Self::Same => (None, None),
            Self::Whole(policies) => (Some(policies), None),
            Self::Delta(delta) => (None, Some(v1::PoliciesDelta::clone(&delta))),
        }
    }
}
