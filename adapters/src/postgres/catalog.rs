//! `pg_catalog` and `information_schema` over the engine's tables: those parts that depend on them are built here, once, and
//! the rest, such as PostgreSQL's types, comes from `datafusion-pg-catalog`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion_postgres::pgwire::api::Type;

use super::relations::{INFORMATION_SCHEMA, PG_CATALOG, PUBLIC, Relation};
use super::routines::{self, Routine};
use super::settings;

/// One row, by column. What is left out is null, zero or empty, as the column allows.
type Row = HashMap<&'static str, ScalarValue>;

macro_rules! row {
    ($($name:ident: $value:expr),* $(,)?) => {
        Row::from([$((stringify!($name), ScalarValue::from($value))),*])
    };
}

/// A schema in which some tables replace those of another.
pub(super) struct Overlay {
    own: HashMap<&'static str, Arc<dyn TableProvider>>,
    below: Option<Arc<dyn SchemaProvider>>,
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").field("own", &self.own.keys()).finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for Overlay {
    fn table_names(&self) -> Vec<String> {
        let below = self.below.as_ref().map(|below| below.table_names()).unwrap_or_default();
        let own = self.own.keys().map(|name| (*name).to_owned());
        own.filter(|name| !below.contains(name)).collect::<Vec<_>>().into_iter().chain(below.clone()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match (self.own.get(name), &self.below) {
            (Some(table), _) => Ok(Some(Arc::clone(table))),
            (None, Some(below)) => below.table(name).await,
            (None, None) => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.own.contains_key(name) || self.below.as_ref().is_some_and(|below| below.table_exist(name))
    }
}

/// `pg_catalog` with what is known about these relations. `below` gives the columns of its tables, and all other tables.
pub(super) async fn pg_catalog(below: Arc<dyn SchemaProvider>, relations: &[Relation]) -> Result<Overlay> {
    let mut own = HashMap::new();
    let settings = settings::all(&HashMap::new());
    let parts: [(&'static str, Vec<Row>); 7] = [
        ("pg_namespace", namespaces()),
        ("pg_class", relations.iter().map(class).collect()),
        ("pg_attribute", relations.iter().flat_map(attributes).collect()),
        ("pg_proc", routines::all().iter().map(procedure).collect()),
        ("pg_description", relations.iter().flat_map(descriptions).collect()),
        ("pg_tables", relations.iter().filter(|relation| !relation.is_view).map(table).collect()),
        (
            "pg_settings",
            settings.iter().map(|(name, value)| row! { name: name.as_str(), setting: value.as_str() }).collect(),
        ),
    ];
    for (name, rows) in parts {
        if let Some(table) = below.table(name).await? {
            let missing = MISSING.iter().filter(|(table, _)| *table == name);
            own.insert(name, mem_table(with_texts(&table.schema(), missing.map(|(_, column)| *column)), &rows)?);
        }
    }
    Ok(Overlay { own, below: Some(below) })
}

/// Lists of texts that clients ask for and that `datafusion-pg-catalog` does not have, or not as lists. They hold nothing.
const MISSING: &[(&str, &str)] =
    &[("pg_class", "reloptions"), ("pg_class", "relacl"), ("pg_namespace", "nspacl"), ("pg_proc", "proacl")];

fn with_texts<'a>(schema: &Schema, names: impl Iterator<Item = &'a str>) -> SchemaRef {
    let text = |name: &str| Arc::new(Field::new_list(name, Field::new_list_field(DataType::Utf8, true), true));
    let names: Vec<_> = names.collect();
    let others = schema.fields().iter().filter(|field| !names.contains(&field.name().as_str())).cloned();
    Arc::new(Schema::new(others.chain(names.iter().map(|name| text(name))).collect::<Vec<_>>()))
}

fn namespaces() -> Vec<Row> {
    [(PUBLIC, "public"), (PG_CATALOG, "pg_catalog"), (INFORMATION_SCHEMA, "information_schema")]
        .map(|(oid, name)| row! { oid: oid, nspname: name, nspowner: 10 })
        .to_vec()
}

fn class(relation: &Relation) -> Row {
    let columns = i16::try_from(relation.columns.len()).unwrap_or(i16::MAX);
    row! {
        oid: relation.oid,
        relname: relation.name.as_str(),
        relnamespace: relation.namespace,
        relowner: 10,
        // The access method `heap`; a view has none.
        relam: if relation.is_view { 0 } else { 2 },
        reltuples: -1.0,
        relpersistence: "p",
        relkind: if relation.is_view { "v" } else { "r" },
        relnatts: columns,
        relispopulated: true,
        relreplident: "n",
    }
}

fn procedure(routine: &Routine) -> Row {
    row! {
        oid: routine.oid,
        proname: routine.name,
        pronamespace: PUBLIC,
        proowner: 10,
        // The language `internal`.
        prolang: 12,
        prokind: if routine.is_aggregate { "a" } else { "f" },
        provolatile: "i",
        proparallel: "s",
        pronargs: routine.arity(),
        prorettype: i32::try_from(routine.result.oid()).unwrap_or_default(),
        prosrc: routine.name,
    }
}

fn attributes(relation: &Relation) -> Vec<Row> {
    let attribute = |(number, column): (i16, &super::relations::RelationColumn)| {
        let is_array = column.pg_type.name().starts_with('_');
        row! {
            attrelid: relation.oid,
            attname: column.name.as_str(),
            atttypid: i32::try_from(column.pg_type.oid()).unwrap_or_default(),
            attlen: length(&column.pg_type),
            attnum: number,
            attndims: i32::from(is_array),
            atttypmod: -1,
            attnotnull: !column.is_nullable,
            attislocal: true,
            attalign: "i",
            attstorage: "p",
        }
    };
    (1..).zip(&relation.columns).map(attribute).collect()
}

fn length(pg_type: &Type) -> i16 {
    match *pg_type {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE | Type::OID => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME => 8,
        _ => -1,
    }
}

fn descriptions(relation: &Relation) -> Vec<Row> {
    /// The number of `pg_class`, which says what is described.
    const PG_CLASS: i32 = 1259;
    let described = |number: i32, comment: Option<&'static str>| {
        comment.map(|text| row! { objoid: relation.oid, classoid: PG_CLASS, objsubid: number, description: text })
    };
    let columns = (1..).zip(&relation.columns).filter_map(|(number, column)| described(number, column.comment));
    described(0, relation.comment).into_iter().chain(columns).collect()
}

fn table(relation: &Relation) -> Row {
    row! { schemaname: relation.schema_name(), tablename: relation.name.as_str(), tableowner: "tollgate" }
}

/// `information_schema`, in PostgreSQL's words.
pub(super) fn information_schema(catalog: &str, relations: &[Relation]) -> Result<Overlay> {
    let public = || relations.iter().filter(|relation| relation.namespace == PUBLIC);
    let schemata = ["public", "pg_catalog", "information_schema"];
    let schemata = schemata.map(|name| row! { catalog_name: catalog, schema_name: name, schema_owner: "tollgate" });
    let tables = relations.iter().map(|relation| {
        row! {
            table_catalog: catalog,
            table_schema: relation.schema_name(),
            table_name: relation.name.as_str(),
            table_type: if relation.is_view { "VIEW" } else { "BASE TABLE" },
            is_insertable_into: "NO",
            is_typed: "NO",
        }
    });
    let views = public().filter(|relation| relation.is_view).map(|relation| {
        row! {
            table_catalog: catalog,
            table_schema: "public",
            table_name: relation.name.as_str(),
            view_definition: relation.definition.as_deref(),
            is_updatable: "NO",
        }
    });
    let columns = relations.iter().flat_map(|relation| columns(catalog, relation));
    let parts: [(&'static str, SchemaRef, Vec<Row>); 6] = [
        ("schemata", texts(&["catalog_name", "schema_name", "schema_owner"], &[]), schemata.to_vec()),
        ("tables", texts(TABLES, &[]), tables.collect()),
        ("views", texts(VIEWS, &[]), views.collect()),
        ("columns", texts(COLUMNS, NUMBERS), columns.collect()),
        ("table_constraints", texts(CONSTRAINTS, &[]), Vec::new()),
        ("key_column_usage", texts(KEYS, &["ordinal_position"]), Vec::new()),
    ];
    let own = parts.into_iter().map(|(name, schema, rows)| Ok((name, mem_table(schema, &rows)?)));
    Ok(Overlay { own: own.collect::<Result<_>>()?, below: None })
}

const TABLES: &[&str] =
    &["table_catalog", "table_schema", "table_name", "table_type", "is_insertable_into", "is_typed"];
const VIEWS: &[&str] = &["table_catalog", "table_schema", "table_name", "view_definition", "is_updatable"];
const COLUMNS: &[&str] = &[
    "table_catalog",
    "table_schema",
    "table_name",
    "column_name",
    "ordinal_position",
    "column_default",
    "is_nullable",
    "data_type",
    "character_maximum_length",
    "numeric_precision",
    "numeric_precision_radix",
    "numeric_scale",
    "datetime_precision",
    "udt_catalog",
    "udt_schema",
    "udt_name",
    "is_identity",
    "is_generated",
    "is_updatable",
];
const NUMBERS: &[&str] = &[
    "ordinal_position",
    "character_maximum_length",
    "numeric_precision",
    "numeric_precision_radix",
    "numeric_scale",
    "datetime_precision",
];
const CONSTRAINTS: &[&str] =
    &["constraint_catalog", "constraint_schema", "constraint_name", "table_schema", "table_name", "constraint_type"];
const KEYS: &[&str] =
    &["constraint_schema", "constraint_name", "table_schema", "table_name", "column_name", "ordinal_position"];

fn columns(catalog: &str, relation: &Relation) -> Vec<Row> {
    let column = |(position, column): (i32, &super::relations::RelationColumn)| {
        let mut row = row! {
            table_catalog: catalog,
            table_schema: relation.schema_name(),
            table_name: relation.name.as_str(),
            column_name: column.name.as_str(),
            ordinal_position: position,
            is_nullable: if column.is_nullable { "YES" } else { "NO" },
            data_type: type_name(&column.pg_type),
            udt_catalog: catalog,
            udt_schema: "pg_catalog",
            udt_name: column.pg_type.name(),
            is_identity: "NO",
            is_generated: "NEVER",
            is_updatable: "NO",
        };
        if let Some(bits) = precision(&column.pg_type) {
            row.extend(row! { numeric_precision: bits, numeric_precision_radix: 2, numeric_scale: 0 });
        }
        if matches!(column.pg_type, Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME) {
            row.extend(row! { datetime_precision: 6 });
        }
        row
    };
    (1..).zip(&relation.columns).map(column).collect()
}

fn precision(pg_type: &Type) -> Option<i32> {
    match *pg_type {
        Type::INT2 => Some(16),
        Type::INT4 => Some(32),
        Type::INT8 => Some(64),
        Type::FLOAT4 => Some(24),
        Type::FLOAT8 => Some(53),
        _ => None,
    }
}

/// The type's name in SQL, where that differs from the short one.
fn type_name(pg_type: &Type) -> &str {
    match *pg_type {
        Type::BOOL => "boolean",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::TIMESTAMP => "timestamp without time zone",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        Type::TIME => "time without time zone",
        _ if pg_type.name().starts_with('_') => "ARRAY",
        _ => pg_type.name(),
    }
}

/// Columns of text, but for those that are numbers.
fn texts(names: &[&str], numbers: &[&str]) -> SchemaRef {
    let field = |name: &&str| {
        let data_type = if numbers.contains(name) { DataType::Int32 } else { DataType::Utf8 };
        Field::new(*name, data_type, true)
    };
    Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()))
}

fn mem_table(schema: SchemaRef, rows: &[Row]) -> Result<Arc<dyn TableProvider>> {
    let column = |field: &Arc<Field>| -> Result<ArrayRef> {
        if rows.is_empty() {
            return Ok(arrow::array::new_empty_array(field.data_type()));
        }
        let value = |row: &Row| match row.get(field.name().as_str()) {
            Some(value) => value.cast_to(field.data_type()),
            None if field.is_nullable() => ScalarValue::try_from(field.data_type()),
            None if *field.data_type() == DataType::Utf8 => Ok(ScalarValue::from("")),
            None => ScalarValue::new_zero(field.data_type())
                .or_else(|_| ScalarValue::from(false).cast_to(field.data_type())),
        };
        ScalarValue::iter_to_array(rows.iter().map(value).collect::<Result<Vec<_>>>()?)
    };
    let arrays = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}
