//! The DataFusion session: which tables there are, and what queries may use.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;

use tollgate_store::TableSpec;

use super::authorize::Authorize;
use super::rules::{physical_rule, rules};
use super::state_table::{StateProvider, StateTable};
use super::stored::{StoredTable, Views, objects_url, with_views};
use super::{CATALOG, SCHEMA, functions, views};
use crate::book::PolicySets;

/// How many of the hungriest operators an error names when memory runs out.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// Most bytes that queries together may write to disk.
const SPILL_BYTES_MAX: u64 = 16 << 30;

/// Everything that SQL can see.
#[derive(Clone)]
pub(crate) struct Tables {
    /// The tables of the store, and where their rows are.
    pub(crate) stored: Arc<[TableSpec]>,
    pub(crate) views: Arc<dyn Views>,
    /// Name and contents of the tables made of state.
    pub(crate) state: Vec<(&'static str, Arc<dyn StateTable>)>,
}

/// What the queries of a session may use, all together.
#[derive(Debug, Clone)]
pub(crate) struct Means {
    /// Most memory.
    pub(crate) bytes_max: usize,
    /// Partitions of a query, which run side by side.
    pub(crate) partitions: usize,
    /// Where sorts, joins and groups go that need more memory; without it such a query ends with an error.
    pub(crate) spill: Option<PathBuf>,
}

/// Makes `authorize` known to a session, over the requests that it shows.
pub(super) async fn register_authorize(context: &SessionContext, sets: Arc<PolicySets>) -> Result<()> {
    let requests = context.table_provider("requests").await?;
    Authorize::new(requests, sets).register(context);
    Ok(())
}

/// A session in which all tables are known. Its clones share them, and the memory.
pub(crate) async fn session(tables: Tables, means: &Means) -> Result<SessionContext> {
    let config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_information_schema(true)
        .with_target_partitions(means.partitions.max(1))
        .set_bool("datafusion.sql_parser.collect_spans", true);
    let config = with_views(config, Arc::clone(&tables.views));
    let spill = match &means.spill {
        Some(dir) => DiskManagerMode::Directories(vec![dir.clone()]),
        None => DiskManagerMode::Disabled,
    };
    let disk = DiskManagerBuilder::default().with_mode(spill).with_max_temp_directory_size(SPILL_BYTES_MAX);
    let pool = TrackConsumersPool::new(FairSpillPool::new(means.bytes_max), CONSUMERS_NAMED);
    let runtime =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).with_disk_manager_builder(disk).build_arc()?;
    if let Some(objects) = tables.views.objects() {
        runtime.register_object_store(objects_url()?.as_ref(), objects);
    }
    let rules = rules(&runtime.memory_pool);
    let builder = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features();
    let builder = builder.with_physical_optimizer_rule(physical_rule());
    let state = rules.into_iter().fold(builder, SessionStateBuilder::with_optimizer_rule).build();
    let context = SessionContext::new_with_state(state);
    functions::register(&context);
    for (index, spec) in tables.stored.iter().enumerate() {
        context.register_table(spec.name, Arc::new(StoredTable::new(index, spec)))?;
    }
    for (name, table) in tables.state {
        context.register_table(name, Arc::new(StateProvider(table)))?;
    }
    views::register(&context, &tables.stored).await?;
    Ok(context)
}
