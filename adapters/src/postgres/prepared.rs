//! The extended protocol: statements are prepared with parameters, described, and run when their values are bound.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::Arc;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use datafusion_postgres::arrow_pg::datatypes::{PG_OID_ALIAS_KEY, into_pg_type, pg_type_for_alias_kind};
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::query::ExtendedQueryHandler;
use datafusion_postgres::pgwire::api::results::{FieldInfo, Response};
use datafusion_postgres::pgwire::api::stmt::QueryParser;
use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, Type};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use futures::Sink;

use super::error::{error, of_query};
use super::names::Names;
use super::query::{act, refuse_when_aborted, rows};
use super::running;
use super::session::{Plan, Sessions};
use super::settings;
use super::statement::{Facts, Statement};
use super::types::Columns;

/// A prepared statement.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    statement: Statement,
    query: Option<PreparedQuery>,
}

#[derive(Debug, Clone)]
struct PreparedQuery {
    plan: Plan,
    columns: Columns,
    parameters: Vec<Parameter>,
}

/// What is known of a parameter's type.
#[derive(Debug, Clone)]
struct Parameter {
    inferred: Option<DataType>,
    wire: Type,
}

/// Most parameters of a statement, as in PostgreSQL.
const PARAMETERS_MAX: u32 = 65_535;

#[async_trait]
impl QueryParser for Sessions {
    type Statement = Prepared;

    async fn parse_sql<C>(&self, client: &C, sql: &str, _types: &[Option<Type>]) -> PgWireResult<Option<Prepared>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let (identity, cancel) = running::begin(client)?;
        let mut statements = self.parse(sql, &Facts::of(client))?;
        if statements.len() > 1 {
            return Err(error("42601", "cannot insert multiple commands into a prepared statement"));
        }
        let Some(statement) = statements.pop() else { return Ok(None) };
        refuse_when_aborted(client, &statement)?;
        let (query, names) = match &statement {
            Statement::Query(query, names) => (query, names.clone()),
            Statement::Copy(query, _) => (query, Names::default()),
            _ => return Ok(Some(Prepared { statement, query: None })),
        };
        let asking = self.asking(&identity).await?;
        let plan = self.plan(&asking, query, &cancel).await?;
        let columns = Columns::new(plan.get().schema().as_arrow(), &names);
        let parameters = parameters(plan.get())?;
        Ok(Some(Prepared { statement, query: Some(PreparedQuery { plan, columns, parameters }) }))
    }

    fn get_parameter_types(&self, prepared: &Prepared) -> PgWireResult<Vec<Type>> {
        let parameters = prepared.query.iter().flat_map(|query| &query.parameters);
        Ok(parameters.map(|parameter| parameter.wire.clone()).collect())
    }

    fn get_result_schema(&self, prepared: &Prepared, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        match (&prepared.statement, &prepared.query) {
            (Statement::Query(..), Some(query)) => {
                query.columns.describe(format.unwrap_or(&Format::UnifiedText), &Arc::default())
            }
            (Statement::Show(Some(name)), _) => Ok(vec![text(&name.to_ascii_lowercase())]),
            (Statement::Show(None), _) => Ok(["name", "setting", "description"].map(text).to_vec()),
            _ => Ok(Vec::new()),
        }
    }
}

fn text(name: &str) -> FieldInfo {
    use datafusion_postgres::pgwire::api::results::FieldFormat;
    FieldInfo::new(name.to_owned(), None, None, Type::TEXT, FieldFormat::Text)
}

/// The parameters of a plan in their order. One that occurs nowhere is text.
fn parameters(plan: &LogicalPlan) -> PgWireResult<Vec<Parameter>> {
    let failed = |error| of_query(tollgate_engine::QueryError::from(error));
    let mut found = BTreeMap::new();
    for (id, inferred) in plan.get_parameter_types().map_err(failed)? {
        let number = id.trim_start_matches('$').parse::<u32>().unwrap_or(0);
        if number == 0 || number > PARAMETERS_MAX {
            return Err(error("42P02", format!("there is no parameter {id}")));
        }
        found.insert(number, inferred);
    }
    let (casts, oids) = hints(plan).map_err(failed)?;
    let last = found.keys().last().copied().unwrap_or(0);
    let parameter = |number: u32| {
        let id = format!("${number}");
        let inferred = found.remove(&number).flatten().or_else(|| casts.get(&id).cloned());
        let wire = match (oids.get(&id), &inferred) {
            (Some(oid), _) => oid.clone(),
            (None, Some(inferred)) => into_pg_type(inferred)?,
            (None, None) => Type::TEXT,
        };
        Ok(Parameter { inferred, wire })
    };
    (1..=last).map(parameter).collect()
}

/// Types that parameters are cast to, and those that are compared with numbers of the catalog, which are `oid`.
fn hints(plan: &LogicalPlan) -> datafusion::error::Result<(HashMap<String, DataType>, HashMap<String, Type>)> {
    let (mut casts, mut oids) = (HashMap::new(), HashMap::new());
    plan.apply_with_subqueries(|node| {
        for expr in node.expressions() {
            expr.apply(|expr| {
                let (placeholder, cast) = match expr {
                    Expr::Placeholder(placeholder) => (placeholder, None),
                    Expr::Cast(cast) => match cast.expr.as_ref() {
                        Expr::Placeholder(placeholder) => (placeholder, Some(cast.field.data_type().clone())),
                        _ => return Ok(TreeNodeRecursion::Continue),
                    },
                    _ => return Ok(TreeNodeRecursion::Continue),
                };
                let alias =
                    placeholder.field.as_ref().and_then(|field| field.metadata().get(PG_OID_ALIAS_KEY).cloned());
                if let Some(oid) = alias.as_deref().and_then(pg_type_for_alias_kind) {
                    oids.insert(placeholder.id.clone(), oid);
                }
                casts.extend(cast.map(|cast| (placeholder.id.clone(), cast)));
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok((casts, oids))
}

#[async_trait]
impl ExtendedQueryHandler for Sessions {
    type Statement = Prepared;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }

    async fn do_query<C>(&self, client: &mut C, portal: &Portal<Prepared>, _max_rows: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let prepared = &portal.statement.statement;
        refuse_when_aborted(client, &prepared.statement)?;
        let Some(query) = &prepared.query else {
            forget(client.portal_store(), &prepared.statement);
            return act(client, prepared.statement.clone()).await;
        };
        let (_, cancel) = running::begin(client)?;
        let plan = bind(portal, query)?;
        let options = Arc::new(FormatOptions::from_client_metadata(client.metadata()));
        let batches = self.start(&plan, settings::statement_timeout(client.metadata()), &cancel).await?;
        match &prepared.statement {
            Statement::Copy(_, format) => {
                super::copy::rows(query.columns.clone(), format, batches).map(Response::CopyOut)
            }
            _ => {
                let infos = query.columns.describe(&portal.result_column_format, &options)?;
                Ok(Response::Query(rows(query.columns.clone(), infos, batches)))
            }
        }
    }
}

fn forget<S: PortalStore>(store: &S, statement: &Statement) {
    if let Statement::Deallocate(Some(name)) = statement {
        store.rm_statement(name);
    }
}

/// The plan with its parameters' values.
fn bind(portal: &Portal<Prepared>, query: &PreparedQuery) -> PgWireResult<Plan> {
    // There may be more, where a part of the statement that asks the catalog for what there is none of is left out.
    if portal.parameter_len() < query.parameters.len() {
        let (given, needed) = (portal.parameter_len(), query.parameters.len());
        return Err(error(
            "08P01",
            format!("bind message supplies {given} parameters, but prepared statement requires {needed}"),
        ));
    }
    if query.parameters.is_empty() {
        return Ok(query.plan.clone());
    }
    let inferred: Vec<_> = query.parameters.iter().map(|parameter| parameter.inferred.as_ref()).collect();
    let wire: Vec<_> = query.parameters.iter().map(|parameter| Some(&parameter.wire)).collect();
    let values = deserialize_parameters_with_server_types(portal, &inferred, &wire)?;
    let bound = query.plan.get().clone().replace_params_with_values(&values);
    let bound = bound.map_err(|error| of_query(tollgate_engine::QueryError::from(error)))?;
    Ok(query.plan.with(bound))
}
