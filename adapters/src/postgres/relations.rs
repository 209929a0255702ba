//! The tables that clients see, with PostgreSQL's numbers for them, their columns' types and what is written about them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::catalog::SchemaProvider;
use datafusion::error::Result;
use datafusion::logical_expr::TableType;
use datafusion_postgres::pgwire::api::Type;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::FieldInfo;

use super::names::Names;
use super::types::Columns;

/// PostgreSQL's number of the namespace `public`.
pub(super) const PUBLIC: i32 = 2200;
/// PostgreSQL's number of the namespace `pg_catalog`.
pub(super) const PG_CATALOG: i32 = 11;
/// The number of `information_schema`, which differs between databases.
pub(super) const INFORMATION_SCHEMA: i32 = 13_000;
/// The first number that PostgreSQL gives to tables of users.
const FIRST_OF_USERS: i32 = 16_384;
/// The first number of the catalog's own tables here.
const FIRST_OF_CATALOG: i32 = 12_000;

/// One table or view.
pub(super) struct Relation {
    pub(super) oid: i32,
    pub(super) namespace: i32,
    pub(super) name: String,
    pub(super) is_view: bool,
    pub(super) columns: Vec<RelationColumn>,
    pub(super) comment: Option<&'static str>,
    /// The query of a view.
    pub(super) definition: Option<String>,
}

/// One column of it.
pub(super) struct RelationColumn {
    pub(super) name: String,
    pub(super) pg_type: Type,
    pub(super) is_nullable: bool,
    pub(super) comment: Option<&'static str>,
}

impl Relation {
    fn new(oid: i32, namespace: i32, name: &str, is_view: bool, schema: &Schema) -> Self {
        let wire = Columns::new(schema, &Names::default());
        let described = wire.describe(&Format::UnifiedText, &Arc::default()).unwrap_or_default();
        let is_requests = namespace == PUBLIC && name == "requests";
        let column = |(info, field): (&FieldInfo, &FieldRef)| {
            let attribute = tollgate_attributes::attribute(field.name()).filter(|_| is_requests);
            RelationColumn {
                name: field.name().clone(),
                pg_type: info.datatype().clone(),
                is_nullable: field.is_nullable(),
                comment: attribute.map(|attribute| attribute.doc),
            }
        };
        let columns = described.iter().zip(schema.fields()).map(column).collect();
        let comment = COMMENTS.iter().find(|(known, _)| namespace == PUBLIC && *known == name).map(|(_, text)| *text);
        Self { oid, namespace, name: name.to_owned(), is_view, columns, comment, definition: None }
    }

    /// The name of the namespace.
    pub(super) fn schema_name(&self) -> &'static str {
        match self.namespace {
            PUBLIC => "public",
            PG_CATALOG => "pg_catalog",
            _ => "information_schema",
        }
    }
}

/// One line about each table.
const COMMENTS: &[(&str, &str)] = &[
    ("requests", "What proxies saw, one row a request, and what was decided about it and why."),
    ("traffic", "Rollups of all requests: counts, bytes and durations by source, destination and route."),
    ("signals", "History of the signals: facts about services and callers, computed by SQL."),
    ("policies", "Policies in force."),
    ("entities", "Services, users and groups that policies know, with their newest signals."),
    ("leases", "Who may use how much of which limit."),
    ("reporters", "Proxies that report, and the snapshot that each enforces."),
    ("services", "Services now: rate, success, latency and refusals of the last minute."),
    ("decisions", "Snapshots: what was pushed to whom and when."),
    ("traffic_1s", "Rollups by second."),
    ("traffic_1m", "Rollups by minute."),
    ("traffic_1h", "Rollups by hour."),
    ("policy_traffic_1m", "Requests by policy and minute."),
    ("services_now", "Services over the last 10 seconds."),
    ("edges", "Who called whom in the last minute."),
    ("top_talkers", "Callers of the last minute, the busiest first."),
    ("denied", "Requests that were denied, with the policies and the reason."),
    ("limited", "Requests that were limited or shed, with the policies and the reason."),
    ("storage", "How the store is doing: one row."),
    ("storage_files", "Sealed files, one row each."),
];

/// Numbers that PostgreSQL gives to tables of its catalog, and that clients know by heart.
const KNOWN: &[(&str, i32)] = &[
    ("pg_type", 1247),
    ("pg_attribute", 1249),
    ("pg_proc", 1255),
    ("pg_class", 1259),
    ("pg_database", 1262),
    ("pg_constraint", 2606),
    ("pg_index", 2610),
    ("pg_namespace", 2615),
];

/// The relations of `public`, in the order of their names so that numbers stay from one start to the next.
pub(super) async fn of_public(public: &dyn SchemaProvider) -> Result<Vec<Relation>> {
    let mut names = public.table_names();
    names.sort();
    let mut relations = Vec::with_capacity(names.len());
    for (oid, name) in (FIRST_OF_USERS..).zip(names) {
        if let Some(table) = public.table(&name).await? {
            let is_view = table.table_type() == TableType::View;
            let definition = table.get_table_definition().map(str::to_owned);
            relations.push(Relation { definition, ..Relation::new(oid, PUBLIC, &name, is_view, &table.schema()) });
        }
    }
    Ok(relations)
}

/// The relations of the catalogs themselves.
pub(super) fn of_catalogs(tables: &[(i32, String, SchemaRef)]) -> Vec<Relation> {
    let relation = |(oid, (namespace, name, schema)): (i32, &(i32, String, SchemaRef))| {
        let known = KNOWN.iter().find(|(known, _)| *namespace == PG_CATALOG && known == name);
        let oid = known.map_or(oid, |(_, oid)| *oid);
        Relation::new(oid, *namespace, name, *namespace == INFORMATION_SCHEMA, schema)
    };
    (FIRST_OF_CATALOG..).zip(tables).map(relation).collect()
}

/// What is written about a table (column 0) or a column, by their numbers.
pub(super) fn comments(relations: &[Relation]) -> HashMap<(i32, i32), &'static str> {
    let mut comments = HashMap::new();
    for relation in relations {
        comments.extend(relation.comment.map(|comment| ((relation.oid, 0), comment)));
        for (number, column) in (1..).zip(&relation.columns) {
            comments.extend(column.comment.map(|comment| ((relation.oid, number), comment)));
        }
    }
    comments
}
