//! A small table made of state that lives elsewhere, at the moment when it is read.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

/// State that SQL can see.
pub(crate) trait StateTable: Send + Sync + 'static {
    /// Names and types of the columns.
    fn schema(&self) -> SchemaRef;
    /// The rows now.
    fn rows(&self) -> Result<RecordBatch, ArrowError>;
}

/// Makes a [`StateTable`] known to DataFusion.
pub(super) struct StateProvider(pub(super) Arc<dyn StateTable>);

impl Debug for StateProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StateProvider").field(&self.0.schema()).finish()
    }
}

#[async_trait]
impl TableProvider for StateProvider {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.0.rows()?;
        let rows = limit.map_or_else(|| rows.clone(), |limit| rows.slice(0, limit.min(rows.num_rows())));
        let plan = MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema(), projection.cloned())?;
        Ok(plan)
    }
}
