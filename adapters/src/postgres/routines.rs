//! The functions that are ours, as PostgreSQL's catalog lists them: `\df` shows these. `docs/sql.md` shows them at work.

use datafusion_postgres::pgwire::api::Type;

/// The first number of these functions.
const FIRST_OF_ROUTINES: i32 = 15_000;

/// One function.
pub(super) struct Routine {
    pub(super) oid: i32,
    pub(super) name: &'static str,
    pub(super) arguments: &'static str,
    pub(super) result: Type,
    pub(super) is_aggregate: bool,
    pub(super) comment: &'static str,
}

impl Routine {
    /// How many arguments it takes.
    pub(super) fn arity(&self) -> i16 {
        i16::try_from(self.arguments.split(',').count()).unwrap_or(i16::MAX)
    }

    /// What PostgreSQL calls the type of its result.
    pub(super) fn result_name(&self) -> &'static str {
        match self.result {
            Type::FLOAT8 => "double precision",
            Type::BYTEA => "bytea",
            Type::TIMESTAMPTZ => "timestamp with time zone",
            _ => "text",
        }
    }
}

/// All of them.
pub(super) fn all() -> Vec<Routine> {
    let functions = [
        (
            "time_bucket",
            "width text, moment timestamp with time zone",
            Type::TIMESTAMPTZ,
            false,
            "start of the interval that a time is in",
        ),
        ("rate", "count double precision, width text", Type::FLOAT8, false, "a count by second"),
        ("p", "value bigint, percent double precision", Type::FLOAT8, true, "percentile, estimated to about 1%"),
        (
            "p",
            "value bigint, percent double precision, weight bigint",
            Type::FLOAT8,
            true,
            "percentile of weighted rows",
        ),
        (
            "histogram_quantile",
            "quantile double precision, duration_offset integer, duration_counts bigint[], duration_zero bigint",
            Type::FLOAT8,
            true,
            "quantile in microseconds over the sum of histograms",
        ),
        ("success_rate", "status smallint", Type::FLOAT8, true, "share that was answered, and not with 5xx"),
        ("success_rate", "status smallint, weight bigint", Type::FLOAT8, true, "the same of weighted rows"),
        ("trace_id", "id text", Type::BYTEA, false, "the id that is written so"),
        ("span_id", "id text", Type::BYTEA, false, "the id that is written so"),
        ("trace_id_text", "id bytea", Type::TEXT, false, "an id as hexadecimal digits"),
        ("span_id_text", "id bytea", Type::TEXT, false, "an id as hexadecimal digits"),
        ("uuid_text", "id bytea", Type::TEXT, false, "an id as a UUID"),
    ];
    let routine = |(oid, (name, arguments, result, is_aggregate, comment))| Routine {
        oid,
        name,
        arguments,
        result,
        is_aggregate,
        comment,
    };
    (FIRST_OF_ROUTINES..).zip(functions).map(routine).collect()
}
