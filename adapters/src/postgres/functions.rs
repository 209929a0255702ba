//! Functions that PostgreSQL's clients call, or that make SQL over time short.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, StringArray};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{
    ColumnarValue, ScalarUDF, Signature, SimpleScalarUDF, TypeSignature, Volatility, create_udf,
};
use datafusion_postgres::pgwire::api::Type;

use super::relations::{self, Relation};
use super::routines::{self, Routine};
use super::settings::{self, SERVER_VERSION};

/// What is written about a table or a column.
type Comments = Arc<HashMap<(i32, i32), &'static str>>;

/// Makes them known in this session.
pub(super) fn register(context: &SessionContext, relations: &[Relation]) {
    let comments: Comments = Arc::new(relations::comments(relations));
    let version = format!("PostgreSQL {SERVER_VERSION} (Tollgate {})", env!("CARGO_PKG_VERSION"));
    let texts: [(&str, &[DataType], ScalarValue); 9] = [
        ("version", &[], ScalarValue::from(version)),
        ("pg_advisory_unlock_all", &[], ScalarValue::from("")),
        ("pg_get_function_sqlbody", &[DataType::Int32], ScalarValue::Utf8(None)),
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
    context.register_udf(constant("pg_database_size", &[DataType::Utf8], ScalarValue::Int64(None)));
    for name in VISIBLE {
        context.register_udf(constant(name, &[DataType::Int32], ScalarValue::from(true)));
    }
    let routines = routines::all();
    let of_routines = |text: fn(&Routine) -> &'static str| {
        routines.iter().map(|routine| (routine.oid, text(routine).to_owned())).collect::<HashMap<_, _>>()
    };
    let definitions = relations.iter().filter_map(|relation| Some((relation.oid, relation.definition.clone()?)));
    context.register_udf(by_number("pg_get_viewdef", definitions.collect()));
    context.register_udf(by_number("pg_get_function_result", of_routines(Routine::result_name)));
    context.register_udf(by_number("pg_get_function_arguments", of_routines(|routine| routine.arguments)));
    context.register_udf(by_number("pg_get_function_identity_arguments", of_routines(|routine| routine.arguments)));
    context.register_udf(current_setting());
    context.register_udf(to_regtype());
    context.register_udf(obj_description(&comments));
    context.register_udf(col_description(comments));
}

/// Everything that there is can be named without its schema.
const VISIBLE: [&str; 6] = [
    "pg_function_is_visible",
    "pg_type_is_visible",
    "pg_collation_is_visible",
    "pg_operator_is_visible",
    "pg_statistics_obj_is_visible",
    "pg_ts_config_is_visible",
];

/// A function of a number, or of a number and whether the text is to be pretty.
fn by_number(name: &str, texts: HashMap<i32, String>) -> ScalarUDF {
    let body = move |arguments: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let text = |number: Option<i32>| texts.get(&number?).map(String::as_str);
        self::texts(arrays[0].as_primitive::<Int32Type>().iter().map(text))
    };
    let exact = TypeSignature::Exact(vec![DataType::Int32]);
    let pretty = TypeSignature::Exact(vec![DataType::Int32, DataType::Boolean]);
    let signature = Signature::one_of(vec![exact, pretty], Volatility::Stable);
    SimpleScalarUDF::new_with_signature(name, signature, DataType::Utf8, Arc::new(body)).into()
}

/// `current_setting(name)`, where the name is not written in the statement: the value that holds unless a client sets another.
fn current_setting() -> ScalarUDF {
    let defaults: HashMap<_, _> = settings::all(&HashMap::new()).into_iter().collect();
    let body = move |arguments: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let value = |name: Option<&str>| defaults.get(name?).map(String::as_str);
        texts(arrays[0].as_string::<i32>().iter().map(value))
    };
    create_udf("current_setting", vec![DataType::Utf8], DataType::Utf8, Volatility::Stable, Arc::new(body))
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
            "pg_proc" => routines::all().iter().find(|routine| Some(routine.oid) == oid).map(|routine| routine.comment),
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
