//! What there is: one catalog, its schemas and tables, and what the server can do.

use std::sync::{Arc, LazyLock};

use arrow::record_batch::RecordBatch;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables, SqlInfo};
use datafusion::logical_expr::TableType;
use tollgate_engine::{Engine, Reader};
use tonic::Status;

const CATALOG: &str = "tollgate";
const SCHEMA: &str = "public";

pub(super) fn catalogs(query: CommandGetCatalogs) -> Result<RecordBatch, FlightError> {
    let mut builder = query.into_builder();
    builder.append(CATALOG);
    builder.build()
}

pub(super) fn schemas(query: CommandGetDbSchemas) -> Result<RecordBatch, FlightError> {
    let mut builder = query.into_builder();
    builder.append(CATALOG, SCHEMA);
    builder.build()
}

pub(super) fn table_types(query: CommandGetTableTypes) -> Result<RecordBatch, FlightError> {
    let mut builder = query.into_builder();
    builder.append("BASE TABLE");
    builder.append("VIEW");
    builder.build()
}

pub(super) async fn tables(
    engine: &Engine,
    reader: &Reader,
    query: CommandGetTables,
) -> Result<RecordBatch, FlightError> {
    let mut builder = query.into_builder();
    let catalog = engine.query_state(reader).catalog_list().catalog(CATALOG);
    if let Some(schema) = catalog.and_then(|catalog| catalog.schema(SCHEMA)) {
        let mut names = schema.table_names();
        names.sort();
        for name in names {
            let table = schema.table(&name).await.map_err(|error| FlightError::ExternalError(Box::new(error)))?;
            let Some(table) = table else { continue };
            let kind = if table.table_type() == TableType::View { "VIEW" } else { "BASE TABLE" };
            builder.append(CATALOG, SCHEMA, &name, kind, &super::service::plain(&table.schema()))?;
        }
    }
    builder.build()
}

static SQL_INFO: LazyLock<Option<Arc<SqlInfoData>>> = LazyLock::new(|| {
    let mut builder = SqlInfoDataBuilder::new();
    builder.append(SqlInfo::FlightSqlServerName, "Tollgate");
    builder.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    builder.append(SqlInfo::FlightSqlServerArrowVersion, "1.5");
    builder.append(SqlInfo::FlightSqlServerReadOnly, true);
    builder.build().ok().map(Arc::new)
});

/// What the server says of itself.
pub(super) fn sql_info() -> Result<&'static SqlInfoData, Status> {
    SQL_INFO.as_deref().ok_or_else(|| Status::internal("there is nothing to say about the server"))
}
