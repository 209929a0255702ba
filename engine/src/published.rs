//! The newest policies and signals, as every session pushes them. Sessions look at the newest only: there is no queue.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;
use tollgate_policies::Slices;

use crate::book::Loaded;
use crate::data::{DataError, Versions};
use crate::decisions::Moment;
use crate::lists::PushedLists;
use crate::signals::SignalState;

/// Policies and signals at one version.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) version: u64,
    pub(crate) slices: Arc<Slices>,
    /// Scopes of their limits.
    pub(crate) scopes: Arc<BTreeSet<Arc<str>>>,
    /// The version at which these policies came.
    pub(crate) policies_version: u64,
    pub(crate) policies_changed: Moment,
    /// The lists that any policy may read.
    pub(crate) lists: Arc<PushedLists>,
    pub(crate) lists_changed: Moment,
    pub(crate) signals: Arc<SignalState>,
    pub(crate) signals_changed: Moment,
}

/// Replaces what is published, under a new version each time.
pub(crate) struct Publisher {
    versions: Arc<Versions>,
    newest: watch::Sender<Arc<Published>>,
}

impl Publisher {
    pub(crate) fn new(versions: Arc<Versions>, loaded: &Loaded, lists: PushedLists) -> Result<Self, DataError> {
        let now = Moment::now();
        let version = versions.next()?;
        let first = Published {
            version,
            slices: Arc::clone(&loaded.slices),
            scopes: Arc::new(loaded.scopes()),
            policies_version: version,
            policies_changed: now,
            lists: Arc::new(lists),
            lists_changed: now,
            signals: Arc::default(),
            signals_changed: now,
        };
        Ok(Self { versions, newest: watch::Sender::new(Arc::new(first)) })
    }

    pub(crate) fn newest(&self) -> Arc<Published> {
        Arc::clone(&self.newest.borrow())
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Published>> {
        self.newest.subscribe()
    }

    /// The version of a push that is made of this state; nothing where there is a newer state already.
    ///
    /// INVARIANT: a push with a higher version than the newest policies holds them. So the version is taken while nobody can publish.
    pub(crate) fn stamp(&self, of: &Arc<Published>) -> Result<Option<u64>, DataError> {
        let newest = self.newest.borrow();
        Arc::ptr_eq(&newest, of).then(|| self.versions.next()).transpose()
    }

    /// Puts policies in force with the lists that they read, unless they are those that are.
    pub(crate) fn set_policies(&self, loaded: &Loaded, lists: PushedLists) -> Result<(), DataError> {
        let newest = self.newest();
        if newest.slices.all().digest() == loaded.slices.all().digest() {
            // Which lists are declared is part of no digest.
            let is_same = newest.slices.all().lists() == loaded.slices.all().lists() && *newest.lists == lists;
            return if is_same { Ok(()) } else { self.set_slices_and_lists(loaded, lists) };
        }
        self.publish(|newest, version| Published {
            version,
            slices: Arc::clone(&loaded.slices),
            scopes: Arc::new(loaded.scopes()),
            policies_version: version,
            policies_changed: Moment::now(),
            lists: Arc::new(lists),
            ..newest
        })
    }

    /// The same policies, of which some may read other lists.
    fn set_slices_and_lists(&self, loaded: &Loaded, lists: PushedLists) -> Result<(), DataError> {
        let (slices, lists) = (Arc::clone(&loaded.slices), Arc::new(lists));
        let lists_changed = Moment::now();
        self.publish(|newest, version| Published { version, slices, lists, lists_changed, ..newest })
    }

    pub(crate) fn set_lists(&self, lists: PushedLists) -> Result<(), DataError> {
        let (lists, lists_changed) = (Arc::new(lists), Moment::now());
        self.publish(|newest, version| Published { version, lists, lists_changed, ..newest })
    }

    pub(crate) fn set_signals(&self, signals: SignalState) -> Result<(), DataError> {
        let signals = Arc::new(signals);
        self.publish(|newest, version| Published { version, signals, signals_changed: Moment::now(), ..newest })
    }

    /// Takes the version while nobody can push: see [`Self::stamp`].
    fn publish(&self, change: impl FnOnce(Published, u64) -> Published) -> Result<(), DataError> {
        let mut outcome = Ok(());
        self.newest.send_if_modified(|newest| match self.versions.next() {
            Ok(version) => {
                *newest = Arc::new(change(Published::clone(newest), version));
                true
            }
            Err(error) => {
                outcome = Err(error);
                false
            }
        });
        outcome
    }
}
