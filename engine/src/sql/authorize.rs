//! `authorize('candidate')`: recorded requests, and what the policies of a set say of each.
//!
//! What a row says stays as it is; columns of [`answer`] are added. A request that cannot be decided, because an attribute
//! was not recorded, has no `would_decide` and says in `would_unsure` what is missing: nothing is guessed.

mod answer;
mod decide;
mod facts;
mod plan;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use tollgate_policies::tools::{Columns, Judge, columns};

use self::decide::Question;
use self::plan::AuthorizeExec;
use super::error::{QueryError, QueryErrorKind};
use crate::book::{PolicySets, SetError};

/// Its name in SQL.
pub(crate) const NAME: &str = "authorize";
/// Columns of `requests` without which nothing can be decided.
const REASON: &str = "reason";
const TIME: &str = "time";
const LABELS: &str = "labels";
/// Columns whose like it tells: who may not see these may not have them computed.
const ANSWERED: [&str; 3] = ["decision", "policies", "shadow"];

/// The function. It reads requests from the table that it was made with, so that whoever is shown other requests in a
/// session registers one of its own there.
pub(crate) struct Authorize {
    requests: Arc<dyn TableProvider>,
    sets: Arc<PolicySets>,
}

impl Authorize {
    /// A function that decides the requests of this table.
    pub(crate) fn new(requests: Arc<dyn TableProvider>, sets: Arc<PolicySets>) -> Self {
        Self { requests, sets }
    }

    /// Makes it known to a session, in place of what has its name there.
    pub(crate) fn register(self, context: &SessionContext) {
        context.register_udtf(NAME, Arc::new(self));
    }
}

impl fmt::Debug for Authorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorize").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl TableFunctionImpl for Authorize {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let (name, headers) = arguments(args.exprs())?;
        let judge = self.sets.judge(&name).map_err(unknown_set)?;
        Ok(Arc::new(Authorized::new(Arc::clone(&self.requests), judge, headers)?))
    }
}

fn arguments(args: &[Expr]) -> Result<(String, BTreeSet<String>)> {
    let texts: Option<Vec<&str>> = args.iter().map(text).collect();
    let (name, headers) = match texts.as_deref() {
        Some([name]) => (*name, ""),
        Some([name, headers]) => (*name, *headers),
        _ => {
            let message = "authorize takes the name of a policy set, such as authorize('live'), and after it the headers that \
                           rows hold where a request had them, such as authorize('live', 'x-tenant, x-plan')";
            return Err(wrong(QueryError::new(QueryErrorKind::Plan, message)));
        }
    };
    let headers = headers.split(',').map(|header| header.trim().to_ascii_lowercase());
    Ok((name.to_owned(), headers.filter(|header| !header.is_empty()).collect()))
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text), _) => {
            text.as_deref()
        }
        _ => None,
    }
}

fn unknown_set(error: SetError) -> DataFusionError {
    let said = QueryError::new(QueryErrorKind::Plan, error.to_string());
    wrong(match error.help() {
        Some(help) => said.with_help(help),
        None => said,
    })
}

fn wrong(error: QueryError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Requests with what a set says of them.
struct Authorized {
    requests: Arc<dyn TableProvider>,
    schema: SchemaRef,
    judge: Arc<Judge>,
    /// What the set reads.
    columns: Columns,
    headers: BTreeSet<String>,
}

impl Authorized {
    fn new(requests: Arc<dyn TableProvider>, judge: Arc<Judge>, headers: BTreeSet<String>) -> Result<Self> {
        let columns = columns(&[&judge]);
        let shown = requests.schema();
        let fields = shown.fields().iter().cloned().chain(answer::fields());
        let authorized =
            Self { schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())), requests, judge, columns, headers };
        // Whoever is not shown a column gets no answer that hangs on it.
        let missing = authorized.needed().chain(ANSWERED).find(|name| shown.index_of(name).is_err());
        match missing {
            Some(name) => {
                let reads = if ANSWERED.contains(&name) { "authorize tells the like of" } else { "the policies read" };
                let message = format!("{reads} `{name}`, which the requests that you see do not have");
                Err(wrong(QueryError::new(QueryErrorKind::Plan, message)))
            }
            None => Ok(authorized),
        }
    }

    /// Names of the columns that a decision needs.
    fn needed(&self) -> impl Iterator<Item = &'static str> {
        let read = self.columns.columns.iter().copied().filter(|name| *name != "decision");
        let labels = (!self.columns.headers.is_empty()).then_some(LABELS);
        read.chain([REASON]).chain(self.columns.time.then_some(TIME)).chain(labels)
    }

    fn is_recorded(&self, filter: &Expr) -> bool {
        let recorded = self.requests.schema();
        filter.column_refs().iter().all(|column| recorded.index_of(&column.name).is_ok())
    }
}

impl fmt::Debug for Authorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorized").field("digest", &self.judge.digest()).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for Authorized {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    /// What is asked of the requests themselves is asked of their table: a filter on `time` keeps the rest from being read.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let recorded: Vec<_> = filters.iter().copied().filter(|filter| self.is_recorded(filter)).collect();
        let mut supported = self.requests.supports_filters_pushdown(&recorded)?.into_iter();
        let support = |filter: &&Expr| {
            let support = self.is_recorded(filter).then(|| supported.next()).flatten();
            support.unwrap_or(TableProviderFilterPushDown::Unsupported)
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let recorded = self.requests.schema();
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let is_asked = wanted.iter().any(|index| *index >= recorded.fields().len());
        if !is_asked {
            return self.requests.scan(session, Some(&wanted), filters, limit).await;
        }
        let needed = self.needed().map(|name| recorded.index_of(name)).collect::<Result<Vec<_>, _>>()?;
        let shown = wanted.iter().copied().filter(|index| *index < recorded.fields().len());
        let read: BTreeSet<usize> = shown.chain(needed).collect();
        let read: Vec<usize> = read.into_iter().collect();
        let input = self.requests.scan(session, Some(&read), filters, limit).await?;
        let schema = Arc::new(self.schema.project(&wanted)?);
        let question = Question {
            judge: Arc::clone(&self.judge),
            recorded: self.columns.recorded(self.headers.clone()),
            columns: self.columns.clone(),
        };
        Ok(Arc::new(AuthorizeExec::new(input, schema, Arc::new(question))))
    }
}
