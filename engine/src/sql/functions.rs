//! The SQL functions that are ours: they make questions about traffic short. `docs/sql.md` shows each at work.

mod arguments;
mod groups;
pub(super) mod histogram;
mod ids;
pub(super) mod packed;
mod percentile;
mod success;
mod time;

use datafusion::execution::context::SessionContext;

/// Makes all of them known to a session.
pub(super) fn register(context: &SessionContext) {
    time::functions().into_iter().chain(ids::functions()).for_each(|function| context.register_udf(function));
    let aggregates = histogram::functions().into_iter().chain([percentile::function(), success::function()]);
    aggregates.for_each(|function| context.register_udaf(function));
}
