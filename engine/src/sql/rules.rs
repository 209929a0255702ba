//! What queries are rewritten into before they run: other plans with the same answer.

mod by_number;
mod names;
mod pack_below;
mod packed;
mod quantiles;

use std::sync::Arc;

use datafusion::execution::memory_pool::MemoryPool;
use datafusion::optimizer::OptimizerRule;
use datafusion::physical_optimizer::PhysicalOptimizerRule;

use self::by_number::GroupByNumber;
use self::pack_below::PackBelow;
use self::packed::PackCounts;
use self::quantiles::ShareHistograms;

/// All of them, in the order in which they are applied, after DataFusion's own.
pub(super) fn rules(pool: &Arc<dyn MemoryPool>) -> [Arc<dyn OptimizerRule + Send + Sync>; 3] {
    [Arc::new(ShareHistograms), Arc::new(GroupByNumber::new(Arc::clone(pool))), Arc::new(PackCounts)]
}

/// The same of plans that say how rows are read.
pub(super) fn physical_rule() -> Arc<dyn PhysicalOptimizerRule + Send + Sync> {
    Arc::new(PackBelow)
}
