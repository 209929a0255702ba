//! The tables and views that one reader sees, made of those that there are.

use std::sync::Arc;

use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
    SchemaProvider, TableProvider,
};
use datafusion::datasource::ViewTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::{SessionContext, SessionState};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use tollgate_store::TableSpec;

use super::permitted::{PermittedTable, Withheld};
use super::{CATALOG, SCHEMA, register_authorize, views};
use crate::access::Rights;
use crate::book::PolicySets;

/// The table that `authorize` reads.
const REQUESTS: &str = "requests";

/// Everything that can be read, before anybody's rights are looked at.
pub(crate) struct Readable {
    base: SessionContext,
    tables: Vec<(String, Arc<dyn TableProvider>)>,
    views: Vec<(&'static str, String)>,
    /// Tables and views with their columns.
    names: Vec<(String, Vec<String>)>,
    sets: Arc<PolicySets>,
}

impl Readable {
    /// Of a session that has all tables and views.
    pub(crate) async fn of(base: SessionContext, stored: &[TableSpec], sets: Arc<PolicySets>) -> Result<Self> {
        let (mut tables, mut names) = (Vec::new(), Vec::new());
        for (name, table) in all(&base).await? {
            names.push((name.clone(), table.schema().fields().iter().map(|field| field.name().clone()).collect()));
            if table.get_logical_plan().is_none() {
                tables.push((name, table));
            }
        }
        Ok(Self { base, tables, views: views::definitions(stored), names, sets })
    }

    pub(crate) fn names(&self) -> &[(String, Vec<String>)] {
        &self.names
    }

    /// A session in which a query finds what may be read, and nothing else.
    pub(crate) async fn session(&self, rights: &Arc<Rights>) -> Result<SessionState> {
        // Views are made of tables in which what may not be read is null, so that they go on without it.
        let (below, above) = (MemorySchemaProvider::new(), MemorySchemaProvider::new());
        for (name, table) in &self.tables {
            let permitted = |withheld| Arc::new(PermittedTable::new(name, Arc::clone(table), rights, withheld));
            below.register_table(name.clone(), permitted(Withheld::Null))?;
            if rights.table(name) {
                above.register_table(name.clone(), permitted(Withheld::Absent))?;
            }
        }
        let below = self.with(below)?;
        for (name, query) in &self.views {
            let plan = below.state().create_logical_plan(query).await?;
            if rights.table(name) {
                let plan = readable_columns(plan.clone(), name, rights)?;
                above.register_table((*name).to_owned(), Arc::new(ViewTable::new(plan, Some(query.clone()))))?;
            }
            below.register_table(*name, Arc::new(ViewTable::new(plan, Some(query.clone()))))?;
        }
        let above = self.with(above)?;
        // It decides the requests that the reader sees.
        if rights.table(REQUESTS) {
            register_authorize(&above, Arc::clone(&self.sets)).await?;
        }
        Ok(above.state())
    }

    fn with(&self, tables: MemorySchemaProvider) -> Result<SessionContext> {
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, Arc::new(tables))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
        let state = self.base.state();
        let config = state.config().clone().with_create_default_catalog_and_schema(false);
        let builder = SessionStateBuilder::new_from_existing(state).with_config(config);
        Ok(SessionContext::new_with_state(builder.with_catalog_list(Arc::new(catalogs)).build()))
    }
}

/// Every table and view of a session, by name.
pub(crate) async fn all(context: &SessionContext) -> Result<Vec<(String, Arc<dyn TableProvider>)>> {
    let missing = || DataFusionError::Plan("there are no tables".to_owned());
    let schema = context.catalog(CATALOG).and_then(|catalog| catalog.schema(SCHEMA)).ok_or_else(missing)?;
    let mut names = schema.table_names();
    names.sort();
    let mut tables = Vec::with_capacity(names.len());
    for name in names {
        if let Some(table) = schema.table(&name).await? {
            tables.push((name, table));
        }
    }
    Ok(tables)
}

/// A view with those of its columns that may be read.
fn readable_columns(plan: LogicalPlan, name: &str, rights: &Rights) -> Result<LogicalPlan> {
    if rights.is_everything() {
        return Ok(plan);
    }
    let fields = plan.schema().iter();
    let readable: Vec<_> =
        fields.filter(|(_, field)| rights.column(name, field.name())).map(|field| Expr::Column(field.into())).collect();
    match readable.len() == plan.schema().fields().len() {
        true => Ok(plan),
        false => LogicalPlanBuilder::from(plan).project(readable)?.build(),
    }
}
