//! One table of the store, as DataFusion sees it.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use tollgate_store::{HotBatch, SealedFile, TableSpec, TableView};

use super::blooms::Sought;
use super::bounds::TimeFilter;
use super::{files, hot, moment};

/// A table of the store.
pub(in crate::sql) struct StoredTable {
    index: usize,
    schema: SchemaRef,
    time: &'static str,
    /// Columns that are searched for single values.
    searched: &'static [&'static str],
}

/// What a scan has to give.
pub(super) struct Wanted<'a> {
    pub(super) projection: Option<&'a Vec<usize>>,
    pub(super) limit: Option<usize>,
    pub(super) partitions: usize,
    /// The column of each row's time.
    pub(super) time: &'static str,
    /// Values of which each row has one. So few rows have that those columns which filters do not read are read for these only.
    pub(super) sought: Option<Sought>,
}

impl StoredTable {
    /// The table at this place among the store's.
    pub(in crate::sql) fn new(index: usize, spec: &TableSpec) -> Self {
        Self { index, schema: Arc::clone(&spec.schema), time: spec.time, searched: spec.bloom }
    }
}

impl fmt::Debug for StoredTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredTable").field("index", &self.index).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Batches, files, row groups and pages are left out by what is known about them; rows are still filtered afterwards.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let moment = moment::moment(session);
        let nothing = TableView::default();
        let table = moment.view().tables.get(self.index).unwrap_or(&nothing);
        let filter = TimeFilter::new(session, filters, Arc::clone(&self.schema), self.time)?;
        let (resident, sealed) = split(&filter.newest(&table.files)?);
        let batches: Vec<_> = table.hot.iter().cloned().chain(resident).collect();
        let batches = filter.newest(&batches)?;
        let wanted = Wanted {
            projection,
            limit,
            partitions: session.config().target_partitions(),
            time: self.time,
            sought: Sought::of(filters, self.searched),
        };
        let rows: usize = batches.iter().map(|batch| batch.rows.num_rows()).sum();
        let is_enough = limit.is_some_and(|limit| rows >= limit);
        if sealed.is_empty() || is_enough {
            return UnionExec::try_new(hot::plans(&batches, &self.schema, &wanted)?);
        }
        let from_files = files::plan(session, &moment, &sealed, &self.schema, &wanted).await?;
        let mut plans = if batches.is_empty() { Vec::new() } else { hot::plans(&batches, &self.schema, &wanted)? };
        plans.push(from_files);
        UnionExec::try_new(plans)
    }
}

/// The batches of files that are still in memory, and the files that are not.
fn split(files: &[Arc<SealedFile>]) -> (Vec<Arc<HotBatch>>, Vec<Arc<SealedFile>>) {
    let (mut batches, mut sealed) = (Vec::new(), Vec::new());
    for file in files {
        match file.resident() {
            Some(rows) => batches.extend(rows.iter().cloned()),
            None => sealed.push(Arc::clone(file)),
        }
    }
    (batches, sealed)
}
