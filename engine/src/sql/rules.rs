//! What queries are rewritten into before they run: other plans with the same answer.

mod by_number;
mod names;
mod quantiles;

use std::sync::Arc;

use datafusion::execution::memory_pool::MemoryPool;
use datafusion::optimizer::OptimizerRule;

use self::by_number::GroupByNumber;
use self::quantiles::ShareHistograms;

/// All of them, in the order in which they are applied, after DataFusion's own.
pub(super) fn rules(pool: &Arc<dyn MemoryPool>) -> [Arc<dyn OptimizerRule + Send + Sync>; 2] {
    [Arc::new(ShareHistograms), Arc::new(GroupByNumber::new(Arc::clone(pool)))]
}
