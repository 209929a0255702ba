//! From the text of a policy directory to everything that is put in force together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::context::SessionContext;
use tollgate_api::v1;
use tollgate_policies::{Compiled, Diagnostics, Mode, PolicyEntry, PolicyKind, Sources, compile};

use crate::clock::WallTime;
use crate::leases::BucketLimit;
use crate::signals::{SignalFile, plan_all};

/// A policy directory that is right.
pub(crate) struct Loaded {
    pub(crate) compiled: Compiled,
    /// As reporters get it.
    pub(crate) proto: Arc<v1::Policies>,
    pub(crate) signals: Arc<Vec<Arc<SignalFile>>>,
    pub(crate) loaded_at: WallTime,
}

/// Checks everything. Policies are checked against the signals, so a signal file that is wrong has to be mended first.
pub(crate) async fn load(
    context: &SessionContext,
    sources: &Sources,
    mode: &Mode,
    default_every: Duration,
) -> Result<Loaded, Diagnostics> {
    let signals = plan_all(context, &sources.signals, default_every).await?;
    let schemas: Vec<_> = signals.iter().map(|file| file.schema()).collect();
    let compiled = compile(sources, &schemas, mode)?;
    let proto = Arc::new(compiled.to_proto());
    Ok(Loaded { compiled, proto, signals: Arc::new(signals), loaded_at: WallTime::now() })
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
