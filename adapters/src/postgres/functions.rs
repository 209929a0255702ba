//! Functions that PostgreSQL's clients call, or that make SQL over time short.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, StringArray};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion_postgres::pgwire::api::Type;

use super::settings::SERVER_VERSION;

/// What is written about a table or a column.
type Comments = Arc<HashMap<(i32, i32), &'static str>>;

/// Makes them known in this session.
pub(super) fn register(context: &SessionContext, comments: HashMap<(i32, i32), &'static str>) {
    let comments: Comments = Arc::new(comments);
    let version = format!("PostgreSQL {SERVER_VERSION} (Tollgate {})", env!("CARGO_PKG_VERSION"));
    let texts: [(&str, &[DataType], ScalarValue); 9] = [
        ("version", &[], ScalarValue::from(version)),
        ("pg_advisory_unlock_all", &[], ScalarValue::from("")),
        ("pg_get_viewdef", &[DataType::Int32], ScalarValue::Utf8(None)),
        ("pg_get_indexdef", &[DataType::Int32, DataType::Int32, DataType::Boolean], ScalarValue::Utf8(None)),
        ("pg_get_serial_sequence", &[DataType::Utf8, DataType::Utf8], ScalarValue::Utf8(None)),
        ("pg_size_pretty", &[DataType::Int64], ScalarValue::Utf8(None)),
        ("shobj_description", &[DataType::Int32, DataType::Utf8], ScalarValue::Utf8(None)),
        ("pg_tablespace_location", &[DataType::Int32], ScalarValue::from("")),
        ("inet_server_addr", &[], ScalarValue::Utf8(None)),
    ];
    for (name, arguments, value) in texts {
        context.register_udf(constant(name, arguments, value));
    }
    context.register_udf(constant("pg_is_in_recovery", &[], ScalarValue::from(false)));
    context.register_udf(constant("pg_table_size", &[DataType::Int32], ScalarValue::Int64(None)));
    context.register_udf(constant("txid_current", &[], ScalarValue::from(1_i64)));
    context.register_udf(to_regtype());
    context.register_udf(obj_description(&comments));
    context.register_udf(col_description(comments));
}

/// A function that always has this value.
fn constant(name: &str, arguments: &[DataType], value: ScalarValue) -> ScalarUDF {
    let data_type = value.data_type();
    let body = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.clone()));
    create_udf(name, arguments.to_vec(), data_type, Volatility::Stable, Arc::new(body))
}

/// `to_regtype(name)`: the number of a type; null where there is none.
fn to_regtype() -> ScalarUDF {
    /// All numbers that PostgreSQL gives to its own types are below this.
    const LAST: u32 = 6_200;
    let known = (16..LAST).filter_map(Type::from_oid);
    let numbers: HashMap<String, i32> =
        known.filter_map(|known| Some((known.name().to_owned(), i32::try_from(known.oid()).ok()?))).collect();
    let body = move |arguments: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let number = |name: Option<&str>| numbers.get(name?).copied();
        let array: ArrayRef = Arc::new(arrays[0].as_string::<i32>().iter().map(number).collect::<Int32Array>());
        Ok(ColumnarValue::Array(array))
    };
    create_udf("to_regtype", vec![DataType::Utf8], DataType::Int32, Volatility::Stable, Arc::new(body))
}

/// `obj_description(table, 'pg_class')`.
fn obj_description(comments: &Comments) -> ScalarUDF {
    let comments = Arc::clone(comments);
    let body = move |arguments: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let (oids, catalogs) = (arrays[0].as_primitive::<Int32Type>(), arrays[1].as_string::<i32>());
        let describe = |(oid, catalog): (Option<i32>, Option<&str>)| match catalog? {
            "pg_class" => comments.get(&(oid?, 0)).copied(),
            _ => None,
        };
        texts(oids.iter().zip(catalogs.iter()).map(describe))
    };
    let arguments = vec![DataType::Int32, DataType::Utf8];
    create_udf("obj_description", arguments, DataType::Utf8, Volatility::Stable, Arc::new(body))
}

/// `col_description(table, column)`.
fn col_description(comments: Comments) -> ScalarUDF {
    let body = move |arguments: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let (oids, columns) = (arrays[0].as_primitive::<Int32Type>(), arrays[1].as_primitive::<Int32Type>());
        let describe = |(oid, column): (Option<i32>, Option<i32>)| comments.get(&(oid?, column?)).copied();
        texts(oids.iter().zip(columns.iter()).map(describe))
    };
    let arguments = vec![DataType::Int32, DataType::Int32];
    create_udf("col_description", arguments, DataType::Utf8, Volatility::Stable, Arc::new(body))
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Result<ColumnarValue> {
    let array: ArrayRef = Arc::new(values.collect::<StringArray>());
    Ok(ColumnarValue::Array(array))
}
