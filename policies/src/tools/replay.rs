//! What other policies would have decided about requests that were recorded.
//!
//! Each distinct combination of attributes is decided once and counts for all of its requests, so that millions of rows
//! are a matter of seconds. What cannot be known afterwards is said to be so and never guessed: a request whose decision
//! hangs on a signal or a header that was not recorded is not decidable. Of rates it is known which limits apply; how many
//! requests they would have refused is simulated where the times of the requests are known.

mod columns;
mod findings;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tollgate_attributes::{Decision, Reason};

pub use columns::{Columns, columns};
pub use findings::{Finding, Kind};

use self::findings::{Compared, Findings};
use super::asked::RequestFacts;
use super::judge::{Judge, Judgement};
use super::simulate::{SimulatedLimit, Simulation};
use crate::text::with_deep_stack;

/// Requests that are alike in everything that policies read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Combination {
    /// What they have in common.
    #[serde(flatten)]
    pub facts: RequestFacts,
    /// How many there were.
    pub requests: u64,
    /// What was decided about them: `allow`, `deny`, `limit` or `shed`.
    pub decision: String,
    /// Why.
    pub reason: String,
    /// Ids of some of them.
    pub samples: Vec<String>,
    /// When the interval began in which they were, in microseconds since the epoch, where it is known.
    pub time_us: Option<i64>,
}

impl Combination {
    /// Reads a row of the query that [`Columns::query`] makes.
    ///
    /// # Errors
    /// When a column has no value that it can have.
    pub fn read(mut row: Map<String, Value>) -> Result<Self, String> {
        let mut labels = Map::new();
        let headers: Vec<_> = row.keys().filter(|name| name.starts_with(columns::HEADER)).cloned().collect();
        for column in headers {
            if let Some(Value::String(value)) = row.remove(&column) {
                labels.insert(column[columns::HEADER.len()..].to_owned(), Value::String(value));
            }
        }
        let samples = ["sample_first", "sample_last"].into_iter().filter_map(|name| row.remove(name));
        let mut samples: Vec<_> = samples.filter(Value::is_string).collect();
        samples.dedup();
        row.retain(|_, value| !value.is_null());
        row.insert("labels".to_owned(), Value::Object(labels));
        row.insert("samples".to_owned(), Value::Array(samples));
        serde_json::from_value(Value::Object(row)).map_err(|error| error.to_string())
    }
}

/// What other policies would have decided.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Replay {
    /// All requests.
    pub totals: ReplayTotals,
    /// What is different, the most requests first within each kind.
    pub findings: Vec<Finding>,
    /// Findings beyond the first 10,000 groups, which are counted in the totals only.
    pub findings_left_off: usize,
    /// What the limits would have refused, where the times of the requests are known.
    pub limits: Vec<SimulatedLimit>,
}

/// Numbers of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ReplayTotals {
    /// Requests that were looked at.
    pub requests: u64,
    /// Distinct combinations of attributes, each decided once.
    pub combinations: u64,
    /// Decided as before.
    pub unchanged: u64,
    /// Let through before, and denied now.
    pub newly_denied: u64,
    /// Denied before, and let through now.
    pub newly_allowed: u64,
    /// Let through, and now shaped by a limit that did not apply, or not so tightly.
    pub newly_limited: u64,
    /// Let through, and no longer shaped by a limit that applied.
    pub no_longer_limited: u64,
    /// Decided as before for another reason or by other policies.
    pub reason_changed: u64,
    /// A policy fails to evaluate.
    pub failed: u64,
    /// Not decidable, because an attribute was not recorded.
    pub undecidable: u64,
    /// Refused before any policy was asked, such as malformed requests.
    pub skipped: u64,
    /// Decided otherwise at the time than the old policies say now: by signals, by other policies, by a limit.
    pub decided_otherwise: u64,
}

/// Replays requests against `new`. They are compared with what `old` says of them, or without it with what was recorded.
///
/// `progress` is told how many combinations are done.
pub fn replay(
    old: Option<&Judge>,
    new: &Judge,
    combinations: impl IntoIterator<Item = Combination>,
    progress: impl FnMut(u64),
) -> Replay {
    with_deep_stack(|| replay_all(old, new, combinations, progress))
}

fn replay_all(
    old: Option<&Judge>,
    new: &Judge,
    combinations: impl IntoIterator<Item = Combination>,
    mut progress: impl FnMut(u64),
) -> Replay {
    let mut totals = ReplayTotals::default();
    let mut findings = Findings::default();
    let mut simulation = Simulation::new(old, new);
    for combination in combinations {
        totals.requests += combination.requests;
        totals.combinations += 1;
        if totals.combinations.is_multiple_of(1_024) {
            progress(totals.combinations);
        }
        if is_before_policies(&combination.reason) {
            totals.skipped += combination.requests;
            continue;
        }
        one(old, new, &combination, &mut totals, &mut findings, &mut simulation);
    }
    progress(totals.combinations);
    let (findings, findings_left_off) = findings.sorted();
    Replay { totals, findings, findings_left_off, limits: simulation.limits() }
}

fn one(
    old: Option<&Judge>,
    new: &Judge,
    combination: &Combination,
    totals: &mut ReplayTotals,
    findings: &mut Findings,
    simulation: &mut Simulation<'_>,
) {
    let before = old.map(|old| old.judge_here(&combination.facts));
    let after = new.judge_here(&combination.facts);
    let (before, after) = match (before.transpose(), after) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(error), _) | (_, Err(error)) => {
            totals.failed += combination.requests;
            return findings.add_error(combination, error);
        }
    };
    simulation.add(combination, before.as_ref(), &after);
    if let Some(before) = &before
        && before.unsure.is_empty()
        && (before.decision == Decision::Allow) != is_let_through(&combination.decision)
    {
        totals.decided_otherwise += combination.requests;
    }
    let compared = Compared::new(combination, before.as_ref(), &after, |id| {
        let shaping = |judge: &Judge| {
            judge.rules.iter().find(|rule| rule.entry.id == *id).and_then(|rule| rule.entry.shaping.clone())
        };
        (old.and_then(shaping), shaping(new))
    });
    *counted(totals, compared.kind) += combination.requests;
    findings.add(combination, compared);
}

fn counted(totals: &mut ReplayTotals, kind: Kind) -> &mut u64 {
    match kind {
        Kind::Unchanged => &mut totals.unchanged,
        Kind::NewlyDenied => &mut totals.newly_denied,
        Kind::NewlyAllowed => &mut totals.newly_allowed,
        Kind::NewlyLimited => &mut totals.newly_limited,
        Kind::NoLongerLimited => &mut totals.no_longer_limited,
        Kind::ReasonChanged => &mut totals.reason_changed,
        Kind::Failed => &mut totals.failed,
        Kind::Undecidable => &mut totals.undecidable,
    }
}

/// Whether access was granted: a limit is asked only then.
pub(super) fn is_let_through(decision: &str) -> bool {
    decision != Decision::Deny.as_str()
}

fn is_before_policies(reason: &str) -> bool {
    [Reason::BadRequest, Reason::UnknownService, Reason::NoSnapshot].iter().any(|before| before.as_str() == reason)
}

/// `deny forbidden`.
pub(super) fn said(judgement: &Judgement) -> String {
    format!("{} {}", judgement.decision, judgement.reason)
}
