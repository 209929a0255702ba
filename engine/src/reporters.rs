//! Who reports: what each reporter said about itself, sent, lost and enforces. The table `reporters`.
//!
//! Bound: 10,000 reporters. One that has not been heard for a day is forgotten; when the table is full, the one that was
//! heard longest ago makes room, and as long as all are connected, further ones are refused.

mod losses;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use self::losses::LossTotals;
use crate::clock::WallTime;
use crate::session::SessionError;

const REPORTERS_MAX: usize = 10_000;
const FORGOTTEN_AFTER_US: i64 = 24 * 60 * 60 * 1_000_000;
/// Longest name of a reporter, and of what it says about itself.
const NAME_BYTES_MAX: usize = 256;
const SERVICES_MAX: usize = 1_000;
/// Most services that can be called through a reporter.
const CALLS_MAX: usize = 10_000;

/// One reporter.
pub(crate) struct Reporter {
    pub(crate) name: Arc<str>,
    facts: Mutex<Facts>,
}

/// What is known about a reporter.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) agent: String,
    pub(crate) epoch: u64,
    pub(crate) services: Vec<String>,
    /// Open streams of rows.
    pub(crate) reporting: usize,
    /// Open streams of snapshots.
    pub(crate) watching: usize,
    /// Newest snapshot version that it enforces.
    pub(crate) acknowledged_version: u64,
    /// Newest snapshot version that was pushed to it.
    pub(crate) pushed_version: u64,
    /// Its policies.
    pub(crate) held: Held,
    /// Highest sequence number of its newest run that is kept, or refused for good.
    pub(crate) sequence: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) batches: u64,
    pub(crate) duplicates: u64,
    pub(crate) rejected: u64,
    pub(crate) losses: LossTotals,
    /// Why it could not apply a snapshot; empty when all is well.
    pub(crate) refused: String,
    pub(crate) last_seen: WallTime,
}

/// The policies of a reporter. One that a change does not concern gets nothing pushed, and enforces the change all the same.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Version of the newest policies of which its slice was cut.
    pub(crate) cut_version: u64,
    /// Version of the push that brought the slice.
    pub(crate) pushed_version: u64,
    /// Version of the newest policies that it enforces.
    pub(crate) enforced_version: u64,
    /// How many there are in the slice.
    pub(crate) policies: usize,
    pub(crate) digest: String,
}

impl Facts {
    /// The reporter enforces what it acknowledged, and so the newest policies once it has its slice of them.
    pub(crate) fn note_enforced(&mut self) {
        if self.held.pushed_version > 0 && self.acknowledged_version >= self.held.pushed_version {
            self.held.enforced_version = self.held.cut_version;
        }
    }

    /// A batch of a run is kept, or refused for good.
    pub(crate) fn note_sequence(&mut self, epoch: u64, sequence: u64) {
        if epoch == self.epoch {
            self.sequence = self.sequence.max(sequence);
        }
    }
}

impl Reporter {
    /// Changes what is known, and notes that the reporter was heard.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Facts) -> T) -> T {
        let mut facts = self.facts.lock();
        facts.last_seen = WallTime::now();
        change(&mut facts)
    }

    /// Reads what is known.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Facts) -> T) -> T {
        read(&self.facts.lock())
    }

    fn is_connected(&self) -> bool {
        self.read(|facts| facts.reporting + facts.watching > 0)
    }
}

/// All reporters, by name.
#[derive(Default)]
pub(crate) struct Reporters {
    by_name: Mutex<HashMap<Arc<str>, Arc<Reporter>>>,
}

impl Reporters {
    /// The reporter of this name, made when there is none; `open` books the stream before anybody can forget it.
    pub(crate) fn connect(&self, hello: &Introduction<'_>, open: Stream) -> Result<Arc<Reporter>, SessionError> {
        hello.check()?;
        let mut by_name = self.by_name.lock();
        if !by_name.contains_key(hello.reporter) {
            make_room(&mut by_name)?;
            let name: Arc<str> = hello.reporter.into();
            by_name.insert(Arc::clone(&name), Arc::new(Reporter { name, facts: Mutex::default() }));
        }
        let reporter = by_name.get(hello.reporter).cloned().ok_or(SessionError::TooManyReporters)?;
        reporter.update(|facts| {
            hello.agent.clone_into(&mut facts.agent);
            if hello.epoch > facts.epoch {
                (facts.epoch, facts.sequence) = (hello.epoch, 0);
                facts.held = Held::default();
            }
            *open.count(facts) += 1;
            if let Some(services) = hello.services {
                facts.services = services.to_vec();
            }
        });
        Ok(reporter)
    }

    /// The stream of a reporter has ended.
    pub(crate) fn disconnect(reporter: &Reporter, stream: Stream) {
        reporter.update(|facts| {
            let count = stream.count(facts);
            *count = count.saturating_sub(1);
        });
    }

    /// Forgets those that have not been heard for long.
    pub(crate) fn expire(&self, now: WallTime) {
        self.by_name.lock().retain(|_, reporter| {
            let last_seen = reporter.read(|facts| facts.last_seen);
            reporter.is_connected() || now.us - last_seen.us < FORGOTTEN_AFTER_US
        });
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Reporter>> {
        let mut all: Vec<_> = self.by_name.lock().values().cloned().collect();
        all.sort_by(|left, right| left.name.cmp(&right.name));
        all
    }
}

/// Forgets the one heard longest ago when the table is full.
fn make_room(by_name: &mut HashMap<Arc<str>, Arc<Reporter>>) -> Result<(), SessionError> {
    if by_name.len() < REPORTERS_MAX {
        return Ok(());
    }
    let gone = by_name.values().filter(|reporter| !reporter.is_connected());
    let oldest =
        gone.min_by_key(|reporter| reporter.read(|facts| facts.last_seen)).map(|reporter| reporter.name.clone());
    oldest.and_then(|name| by_name.remove(&name)).map(drop).ok_or(SessionError::TooManyReporters)
}

/// Which of a reporter's streams.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    /// Rows up.
    Report,
    /// Snapshots down.
    Watch,
}

impl Stream {
    fn count(self, facts: &mut Facts) -> &mut usize {
        match self {
            Self::Report => &mut facts.reporting,
            Self::Watch => &mut facts.watching,
        }
    }
}

/// How a reporter introduces itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Introduction<'a> {
    pub(crate) reporter: &'a str,
    pub(crate) epoch: u64,
    pub(crate) agent: &'a str,
    /// Services that it fronts, where the stream says so.
    pub(crate) services: Option<&'a [String]>,
    /// Services that call through it, and that are called.
    pub(crate) calls: [&'a [String]; 2],
}

impl Introduction<'_> {
    fn check(&self) -> Result<(), SessionError> {
        let is_name = |name: &str| {
            !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(|c| c.is_control() || c == '|')
        };
        if !is_name(self.reporter) {
            return Err(SessionError::Name { what: "reporter", name: self.reporter.escape_debug().take(64).collect() });
        }
        if self.agent.len() > NAME_BYTES_MAX {
            return Err(SessionError::Name { what: "agent", name: self.agent.escape_debug().take(64).collect() });
        }
        let [calling, called] = self.calls;
        let lists = [(self.services.unwrap_or_default(), SERVICES_MAX), (calling, SERVICES_MAX), (called, CALLS_MAX)];
        for (services, max) in lists {
            if services.len() > max {
                return Err(SessionError::TooManyServices { services: services.len(), max });
            }
            if let Some(service) = services.iter().find(|service| !is_name(service)) {
                let name = service.escape_debug().take(64).collect();
                return Err(SessionError::Name { what: "service", name });
            }
        }
        Ok(())
    }
}
