//! What people do with policies besides enforcing them: check, format, test, explain, compare, replay and suggest.
//!
//! Everything here is a pure function of text, compiled policies and requests. Requests are judged with plain Cedar, one
//! policy after another: slower than an [`Enforcer`](crate::Enforcer), able to say why, and not led astray by an index or
//! a cache. A property test holds both to the same answers.

mod asked;
mod bounds;
mod cases;
mod cedar_tests;
mod clauses;
mod cover;
mod coverage;
mod diff;
mod explain;
mod format;
mod ground;
mod judge;
mod lint;
mod replay;
mod rule;
mod simulate;
mod suggest;
mod tree;

pub use asked::{RequestFacts, Time};
pub use cases::{CaseFile, CaseResult, TestReport, run_cases};
pub use cedar_tests::run_cedar_tests;
pub use coverage::{ClauseCoverage, ConditionCoverage, Coverage, PolicyCoverage};
pub use diff::{Change, Changed, Diff, Named, diff};
pub use explain::{
    Explanation, Missing, NearestPermit, PolicyExplanation, ScopeExplanation, Seen, SeenCondition, SeenRead, explain,
};
pub use format::{FormatError, format};
pub use judge::{Judge, Judgement, Recorded};
pub use lint::lint;
pub use replay::{Columns, Combination, Finding, Kind, Replay, ReplayTotals, columns, replay};
pub use simulate::SimulatedLimit;
pub use suggest::{Suggestion, suggest};
