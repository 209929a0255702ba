//! The tables made of the engine's state, by name.

use std::sync::Arc;

use crate::book::{EntitiesTable, PoliciesTable, PolicyBook};
use crate::decisions::DecisionLog;
use crate::fleet::{Fleet, LeasesTable};
use crate::kept::{CountedUses, StorageTables};
use crate::lists::ListsTable;
use crate::reporters::Reporters;
use crate::signals::SignalHistory;
use crate::sql::StateTable;

/// Name and contents of each table.
pub(crate) type StateTables = Vec<(&'static str, Arc<dyn StateTable>)>;

/// Where the tables' rows come from.
#[derive(Default)]
pub(crate) struct Sources {
    pub(crate) book: Arc<PolicyBook>,
    pub(crate) signals: Arc<SignalHistory>,
    pub(crate) reporters: Arc<Reporters>,
    pub(crate) decisions: Arc<DecisionLog>,
    /// There are no leases where only policies are checked.
    pub(crate) fleet: Option<Arc<Fleet>>,
    pub(crate) storage: StorageTables,
    pub(crate) uses: Arc<CountedUses>,
    pub(crate) lists: ListsTable,
}

impl Sources {
    pub(crate) fn tables(&self) -> StateTables {
        let mut tables: StateTables = vec![
            ("signals", self.signals.clone()),
            ("policies", Arc::new(PoliciesTable { book: Arc::clone(&self.book), uses: Arc::clone(&self.uses) })),
            ("entities", Arc::new(EntitiesTable(Arc::clone(&self.book)))),
            ("lists", Arc::new(self.lists.clone())),
            ("leases", Arc::new(LeasesTable(self.fleet.clone()))),
            ("reporters", self.reporters.clone()),
            ("decisions", self.decisions.clone()),
        ];
        tables.extend(self.storage.tables());
        tables
    }
}
