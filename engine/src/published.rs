//! The newest policies and signals, as every session pushes them. Sessions look at the newest only: there is no queue.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;
use tollgate_policies::Slices;

use crate::book::Loaded;
use crate::data::{DataError, Versions};
use crate::decisions::Moment;
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
    pub(crate) signals: Arc<SignalState>,
    pub(crate) signals_changed: Moment,
}

/// Replaces what is published, under a new version each time.
pub(crate) struct Publisher {
    versions: Arc<Versions>,
    newest: watch::Sender<Arc<Published>>,
}

impl Publisher {
    pub(crate) fn new(versions: Arc<Versions>, loaded: &Loaded) -> Result<Self, DataError> {
        let now = Moment::now();
        let version = versions.next()?;
        let first = Published {
            version,
            slices: Arc::clone(&loaded.slices),
            scopes: Arc::new(loaded.scopes()),
            policies_version: version,
            policies_changed: now,
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

    /// Puts policies in force, unless they are those that are.
    pub(crate) fn set_policies(&self, loaded: &Loaded) -> Result<(), DataError> {
        if self.newest.borrow().slices.all().digest() == loaded.slices.all().digest() {
            return Ok(());
        }
        self.publish(|newest, version| Published {
            version,
            slices: Arc::clone(&loaded.slices),
            scopes: Arc::new(loaded.scopes()),
            policies_version: version,
            policies_changed: Moment::now(),
            ..newest
        })
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
