//! Who may read what, and report as whom: what the policies on data say, asked once and remembered.
//!
//! [`AccessBook`] has the policies in force, [`Rights`] are what they grant to one identity, and a [`Reader`] is an identity
//! with the tables that it may see. Every query is asked by a [`Reader`]: there is no other way to the rows.

mod rows;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::execution::context::SessionState;
use parking_lot::Mutex;
use tokio::sync::watch;
use tollgate_policies::{Asked, DataPolicies, Person};

pub(crate) use self::rows::RowRule;
use crate::identity::Identity;
use crate::reporters::{Reporter, Reporters};
use crate::session::SessionError;
use crate::sql::{QueryError, QueryErrorKind};

/// Services whose answer is remembered for one identity. Beyond it each is asked anew.
const SERVICES_MAX: usize = 100_000;
/// Identities whose rights are remembered. When there are more, all are forgotten.
const READERS_MAX: usize = 256;

/// The policies on data that are in force.
pub(crate) struct AccessBook {
    state: watch::Sender<Arc<InForce>>,
    readers: Mutex<HashMap<Arc<str>, Reader>>,
    reporters: Arc<Reporters>,
}

#[derive(Default)]
struct InForce {
    /// Rises with every change.
    generation: u64,
    policies: Option<Arc<DataPolicies>>,
}

impl AccessBook {
    pub(crate) fn new(reporters: Arc<Reporters>) -> Self {
        let (state, _) = watch::channel(Arc::default());
        Self { state, readers: Mutex::default(), reporters }
    }

    /// Puts policies in force, or none. What was planned under others is not run any more.
    pub(crate) fn accept(&self, policies: Option<&Arc<DataPolicies>>) {
        self.state.send_if_modified(|state| {
            let is_same = match (&state.policies, policies) {
                (None, None) => true,
                (Some(before), Some(now)) => before.is_same(now),
                _ => false,
            };
            if !is_same {
                *state = Arc::new(InForce { generation: state.generation + 1, policies: policies.cloned() });
            }
            !is_same
        });
    }

    /// Whether there are any policies on data.
    pub(crate) fn has_policies(&self) -> bool {
        self.state.borrow().policies.is_some()
    }

    /// Whether an identity may report under this name.
    pub(crate) fn may_report(&self, identity: &Identity, reporter: &str) -> Result<(), SessionError> {
        identity.may_report_as(reporter)?;
        let in_force = self.in_force();
        let may = in_force.policies.as_ref().is_none_or(|policies| {
            policies.may(Person { name: identity.name(), teams: identity.teams() }, Asked::Report(reporter))
        });
        match may {
            true => Ok(()),
            false => Err(SessionError::Forbidden { name: identity.name().to_owned(), reporter: reporter.to_owned() }),
        }
    }

    pub(crate) fn rights(&self, identity: &Identity) -> Rights {
        let in_force = self.in_force();
        let person = Person { name: identity.name(), teams: identity.teams() };
        let every_service = in_force.policies.as_ref().is_none_or(|policies| policies.reads_every_service(person));
        Rights {
            identity: identity.clone(),
            in_force,
            newest: self.state.subscribe(),
            every_service,
            services: Mutex::default(),
            reporters: Arc::clone(&self.reporters),
        }
    }

    /// The reader of this identity, if it is still right.
    pub(crate) fn remembered(&self, identity: &Identity) -> Option<Reader> {
        let readers = self.readers.lock();
        let reader = readers.get(identity.name())?;
        let is_same = reader.rights.identity == *identity && reader.rights.is_current();
        is_same.then(|| reader.clone())
    }

    pub(crate) fn remember(&self, reader: &Reader) {
        let mut readers = self.readers.lock();
        if readers.len() >= READERS_MAX {
            readers.clear();
        }
        readers.insert(reader.rights.identity.name().into(), reader.clone());
    }

    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.state.borrow())
    }
}

/// What one identity may read, under the policies of one moment.
pub(crate) struct Rights {
    identity: Identity,
    in_force: Arc<InForce>,
    newest: watch::Receiver<Arc<InForce>>,
    every_service: bool,
    services: Mutex<HashMap<Box<str>, bool>>,
    reporters: Arc<Reporters>,
}

impl Rights {
    /// Whether the policies are still those.
    pub(crate) fn is_current(&self) -> bool {
        self.in_force.generation == self.newest.borrow().generation
    }

    /// Whether nothing is kept from anybody.
    pub(crate) fn is_everything(&self) -> bool {
        self.in_force.policies.is_none()
    }

    pub(crate) fn table(&self, table: &str) -> bool {
        self.may(Asked::Table(table))
    }

    pub(crate) fn column(&self, table: &str, column: &str) -> bool {
        self.may(Asked::Column(table, column))
    }

    /// The answer to who may not read a table.
    pub(crate) fn refuse(&self, table: &str) -> QueryError {
        let message =
            format!("`{}` may not read the table `{table}`: no policy on data permits it", self.identity.name());
        QueryError::new(QueryErrorKind::Denied, message).with_help("what may be read is written in `data/*.cedar`")
    }

    pub(crate) fn every_service(&self) -> bool {
        self.every_service
    }

    pub(crate) fn service(&self, name: &str) -> bool {
        if self.every_service {
            return true;
        }
        if let Some(known) = self.services.lock().get(name) {
            return *known;
        }
        let may = self.may(Asked::Service(name));
        let mut services = self.services.lock();
        if services.len() < SERVICES_MAX {
            services.insert(name.into(), may);
        }
        may
    }

    /// Reporters in front of a service that may be read about.
    pub(crate) fn reporters(&self) -> BTreeSet<Box<str>> {
        let all = self.reporters.all();
        let is_readable = |reporter: &&Arc<Reporter>| {
            let services = reporter.read(|facts| facts.services.clone());
            services.iter().any(|service| self.service(service))
        };
        all.iter().filter(is_readable).map(|reporter| (*reporter.name).into()).collect()
    }

    /// For a plan that was made under other policies.
    pub(crate) fn outdated() -> QueryError {
        let message = "the policies on data have changed since the query was prepared";
        QueryError::new(QueryErrorKind::Denied, message).with_help("prepare it again")
    }

    /// Why a table or column is not there, if it is for want of a permission.
    pub(crate) fn explain(&self, error: QueryError, tables: &[(String, Vec<String>)]) -> QueryError {
        if self.is_everything() || error.kind != QueryErrorKind::Plan {
            return error;
        }
        let name = |start: &str| error.message.strip_prefix(start)?.strip_suffix('`');
        let denied = if let Some(table) = name("unknown table `") {
            tables.iter().any(|(known, _)| known == table && !self.table(known)).then(|| format!("the table `{table}`"))
        } else if let Some(column) = name("unknown column `") {
            let is_hidden = |(table, columns): &(String, Vec<String>)| {
                columns.iter().any(|known| known == column) && self.table(table) && !self.column(table, column)
            };
            tables.iter().any(is_hidden).then(|| format!("the column `{column}`"))
        } else {
            None
        };
        let Some(what) = denied else { return error };
        let message = format!("`{}` may not read {what}: no policy on data permits it", self.identity.name());
        let denied = QueryError::new(QueryErrorKind::Denied, message);
        QueryError { position: error.position, ..denied.with_help("what may be read is written in `data/*.cedar`") }
    }

    fn may(&self, asked: Asked<'_>) -> bool {
        let person = Person { name: self.identity.name(), teams: self.identity.teams() };
        self.in_force.policies.as_ref().is_none_or(|policies| policies.may(person, asked))
    }
}

/// Who asks, and the tables that they may see. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    pub(crate) rights: Arc<Rights>,
    pub(crate) state: Arc<SessionState>,
}

impl Reader {
    /// Who asks.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.rights.identity
    }

    /// Whether what was planned with this may still be run: the policies on data are the same.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.rights.is_current()
    }

    /// Whether something may be read that is no table of SQL but is named like one: `metrics`, `snapshot`.
    #[must_use]
    pub fn may_read(&self, name: &str) -> bool {
        self.rights.table(name)
    }

    /// Whether a column may be read of every row of a table.
    #[must_use]
    pub fn reads_every(&self, table: &str, column: &str) -> bool {
        self.rights.every_service() && self.rights.table(table) && self.rights.column(table, column)
    }

    /// Returns when the policies on data have changed.
    pub async fn outdated(&self) {
        let mut newest = self.rights.newest.clone();
        // It fails only where the engine is gone, and with it what was read.
        let _ = newest.wait_for(|newest| newest.generation != self.rights.in_force.generation).await;
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reader").field(&self.rights.identity.name()).finish()
    }
}
