//! The DataFusion session: which tables there are, and what queries may use.

use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion::datasource::ViewTable;
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;

use super::requests::RequestsTable;
use super::state_table::{StateProvider, StateTable};
use crate::hot::HotStore;

/// Services of the last minute, and those that `entities.json` names.
const SERVICES: &str = include_str!("services.sql");
/// How many of the hungriest operators an error names when memory runs out.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// Everything that SQL can see.
#[derive(Clone)]
pub(crate) struct Tables {
    pub(crate) hot: Arc<HotStore>,
    /// Name and contents of the tables made of state.
    pub(crate) state: Vec<(&'static str, Arc<dyn StateTable>)>,
}

/// A session in which all tables are known. Its clones share them, and the memory.
pub(crate) async fn session(tables: Tables, bytes_max: usize, partitions: usize) -> Result<SessionContext> {
    let config = SessionConfig::new()
        .with_default_catalog_and_schema("tollgate", "public")
        .with_information_schema(true)
        .with_target_partitions(partitions.max(1))
        .set_bool("datafusion.sql_parser.collect_spans", true);
    // Nothing is written to disk: a query that needs more memory than there is ends with an error.
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let pool = TrackConsumersPool::new(FairSpillPool::new(bytes_max), CONSUMERS_NAMED);
    let runtime =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).with_disk_manager_builder(disk).build_arc()?;
    let state =
        SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features().build();
    let context = SessionContext::new_with_state(state);
    context.register_table("requests", Arc::new(RequestsTable(tables.hot)))?;
    for (name, table) in tables.state {
        context.register_table(name, Arc::new(StateProvider(table)))?;
    }
    let services = context.state().create_logical_plan(SERVICES).await?;
    context.register_table("services", Arc::new(ViewTable::new(services, Some(SERVICES.to_owned()))))?;
    Ok(context)
}
