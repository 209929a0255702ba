//! One table of the store, as DataFusion sees it.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use tollgate_store::{HotBatch, SealedFile, TableSpec, TableView};

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
    /// Whether filters leave so few rows that those columns which filters do not read are best read for these only.
    pub(super) is_selective: bool,
}

impl StoredTable {
    /// The table at this place among the store's.
    pub(in crate::sql) fn new(index: usize, spec: &TableSpec) -> Self {
        Self { index, schema: Arc::clone(&spec.schema), time: spec.time, searched: spec.bloom }
    }

    fn is_selective(&self, filter: &Expr) -> bool {
        let is_searched = |expr: &Expr| match expr {
            Expr::Column(column) => self.searched.contains(&column.name.as_str()),
            _ => false,
        };
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => is_searched(left) || is_searched(right),
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                self.is_selective(left) && self.is_selective(right)
            }
            Expr::InList(list) => !list.negated && is_searched(&list.expr),
            _ => false,
        }
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
        let view = moment::view(session);
        let nothing = TableView::default();
        let table = view.tables.get(self.index).unwrap_or(&nothing);
        let filter = TimeFilter::new(session, filters, Arc::clone(&self.schema), self.time)?;
        let (resident, sealed) = split(&filter.newest(&table.files)?);
        let batches: Vec<_> = table.hot.iter().cloned().chain(resident).collect();
        let batches = filter.newest(&batches)?;
        let wanted = Wanted {
            projection,
            limit,
            partitions: session.config().target_partitions(),
            time: self.time,
            is_selective: filters.iter().any(|filter| self.is_selective(filter)),
        };
        let rows: usize = batches.iter().map(|batch| batch.rows.num_rows()).sum();
        let is_enough = limit.is_some_and(|limit| rows >= limit);
        if sealed.is_empty() || is_enough {
            return hot::plan(&batches, self.schema(), &wanted);
        }
        let from_files = files::plan(session, &sealed, &self.schema, &wanted)?;
        if batches.is_empty() {
            return Ok(from_files);
        }
        UnionExec::try_new(vec![hot::plan(&batches, self.schema(), &wanted)?, from_files])
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
