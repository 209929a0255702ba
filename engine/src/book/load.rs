//! From the text of a policy directory to everything that is put in force together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::context::SessionContext;
use tollgate_policies::{
    Compiled, Diagnostic, Diagnostics, Mode, PolicyEntry, PolicyKind, SignalSchema, Slices, SourceFile, Sources,
    compile, compile_aside,
};

use crate::clock::WallTime;
use crate::leases::BucketLimit;
use crate::signals::{SignalFile, plan_all};

/// What is read over HTTP under these names and is no table: `GET /metrics` and `GET /v1/snapshot`.
const NOT_TABLES: [&str; 2] = ["metrics", "snapshot"];

/// A policy directory that is right.
pub(crate) struct Loaded {
    pub(crate) compiled: Compiled,
    /// As reporters get it.
    pub(crate) slices: Arc<Slices>,
    pub(crate) signals: Arc<Vec<Arc<SignalFile>>>,
    /// What the signals were planned of.
    signal_sources: Vec<SourceFile>,
    pub(crate) loaded_at: WallTime,
}

/// Checks everything, and finds every problem in one go. What was loaded before only saves work.
pub(crate) async fn load(
    context: &SessionContext,
    sources: &Sources,
    mode: &Mode,
    default_every: Duration,
    before: Option<&Loaded>,
) -> Result<Loaded, Diagnostics> {
    // Planning looks at the files of the tables too, and an edit of policies is to be quick.
    let planned = before.filter(|before| before.signal_sources == sources.signals);
    let planned = planned.map(|before| Arc::clone(&before.signals));
    let (compiled, signals) = check(context, sources, mode, default_every, compile, planned).await?;
    let slices = Slices::new(&compiled, before.map(|before| &*before.slices));
    let failed = |error| Diagnostics(vec![Diagnostic::error("TG0500", "", format!("cannot be distributed: {error}"))]);
    let slices = Arc::new(slices.map_err(failed)?);
    let (signal_sources, loaded_at) = (sources.signals.clone(), WallTime::now());
    Ok(Loaded { compiled, slices, signals, signal_sources, loaded_at })
}

/// Checks everything as [`load`] does, without meaning to put it in force.
pub(crate) async fn load_aside(
    context: &SessionContext,
    sources: &Sources,
    mode: &Mode,
    default_every: Duration,
) -> Result<Compiled, Diagnostics> {
    Ok(check(context, sources, mode, default_every, compile_aside, None).await?.0)
}

type Compile = fn(&Sources, &[SignalSchema], &Mode) -> Result<Compiled, Diagnostics>;
type Planned = Arc<Vec<Arc<SignalFile>>>;

async fn check(
    context: &SessionContext,
    sources: &Sources,
    mode: &Mode,
    default_every: Duration,
    compile: Compile,
    planned: Option<Planned>,
) -> Result<(Compiled, Planned), Diagnostics> {
    let (signals, problems) = match planned {
        Some(signals) => (signals, Vec::new()),
        None => {
            let (signals, problems) = plan_all(context, &sources.signals, default_every).await;
            (Arc::new(signals), problems)
        }
    };
    let schemas: Vec<_> = signals.iter().map(|file| file.schema()).collect();
    let compiled = compile(sources, &schemas, mode);
    if !problems.is_empty() {
        return Err(with_broken_signals(problems, compiled));
    }
    let compiled = compiled?;
    if let Some(data) = &compiled.data {
        let unknown = data.unknown_names(&names(context).await);
        if !unknown.is_empty() {
            return Err(Diagnostics(unknown));
        }
    }
    Ok((compiled, signals))
}

/// What policies on data may name: tables and views with their columns, and what else is read by name.
async fn names(context: &SessionContext) -> BTreeMap<String, Vec<String>> {
    // It fails only where there are no tables at all.
    let tables = crate::sql::all(context).await.unwrap_or_default();
    let columns = |table: &Arc<dyn datafusion::catalog::TableProvider>| {
        table.schema().fields().iter().map(|field| field.name().clone()).collect()
    };
    let others = NOT_TABLES.map(|name| (name.to_owned(), Vec::new()));
    tables.iter().map(|(name, table)| (name.clone(), columns(table))).chain(others).collect()
}

/// The problems of signal files, and those of policies that do not merely follow from them: a signal that a policy misses may be
/// one of a file that could not be planned.
fn with_broken_signals(mut problems: Vec<Diagnostic>, compiled: Result<Compiled, Diagnostics>) -> Diagnostics {
    let follows = |code: &str| matches!(code, "TG0103" | "TG0104");
    let others = compiled.err().into_iter().flat_map(|found| found.0);
    problems.extend(others.filter(|found| !follows(found.code)));
    problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    Diagnostics(problems)
}

impl Loaded {
    /// What the leases divide.
    pub(crate) fn limits(&self) -> Vec<BucketLimit> {
        let limit = |policy: &PolicyEntry| {
            let shaping = policy.shaping.as_ref()?;
            let limit = shaping.limit.as_ref()?;
            let (policy, scope) = (Arc::clone(&policy.id), shaping.scope.as_str().into());
            Some(BucketLimit { policy, scope, rate: limit.rate, burst: limit.burst })
        };
        self.compiled.policies.iter().filter_map(limit).collect()
    }

    /// Where the limits apply.
    pub(crate) fn scopes(&self) -> BTreeSet<Arc<str>> {
        self.limits().into_iter().map(|limit| limit.scope).collect()
    }

    /// How many policies of a kind there are.
    pub(crate) fn count(&self, kind: PolicyKind) -> usize {
        self.compiled.policies.iter().filter(|policy| policy.kind == kind).count()
    }
}
