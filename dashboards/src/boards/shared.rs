//! Variables, links and pieces of SQL that several dashboards have in common.

use crate::model::{Kind, Panel, Variable, VariableKind};

/// Each request once: an outbound proxy records the same call from the caller's side.
pub(super) const ONCE: &str = "direction <> 'outbound'";

/// As [`ONCE`], and what an outbound proxy refused early: the called service's proxy never saw that.
pub(super) const COUNTED: &str = "(direction <> 'outbound' OR decision <> 'allow')";

/// Quantiles of a rollup's durations, in microseconds.
pub(super) const QUANTILES: &str = "histogram_quantile(0.5, duration_offset, duration_counts, duration_zero) AS p50,\n\
     \x20      histogram_quantile(0.9, duration_offset, duration_counts, duration_zero) AS p90,\n\
     \x20      histogram_quantile(0.99, duration_offset, duration_counts, duration_zero) AS p99";

/// Requests that were let through and failed, of all that were let through.
pub(super) const FAILED: &str = "sum(CASE WHEN decision = 'allow' THEN errors ELSE 0 END) * 1.0\n\
     \x20      / nullif(sum(CASE WHEN decision = 'allow' THEN requests ELSE 0 END), 0)";

/// Which rollup is read, and so the shortest step.
pub(super) fn resolution() -> Variable {
    Variable { name: "resolution", label: "Resolution", kind: VariableKind::Choice(&["1m", "1s", "1h"]) }
}

pub(super) fn service_variable(name: &'static str, label: &'static str, column: &str) -> Variable {
    let text = format!(
        "SELECT DISTINCT {column} FROM traffic_${{resolution}}\nWHERE $__timeFilter(time) AND {column} IS NOT NULL ORDER BY 1"
    );
    Variable { name, label, kind: VariableKind::Sql(text) }
}

pub(super) fn text(name: &'static str, label: &'static str, value: &'static str) -> Variable {
    Variable { name, label, kind: VariableKind::Text(value) }
}

/// Where traces are shown: the trace's id is put at the end.
pub(super) fn traces() -> Variable {
    text("traces", "Trace viewer", "http://127.0.0.1:16686/trace/")
}

pub(super) fn service_link(column: &str) -> String {
    format!("/d/tollgate-service?var-service=${{__data.fields.{column}}}&${{__url_time_range}}")
}

pub(super) fn edge_link() -> String {
    "/d/tollgate-edge?var-source=${__data.fields.source}&var-destination=${__data.fields.destination}&${__url_time_range}"
        .to_owned()
}

pub(super) fn policy_link() -> String {
    "/d/tollgate-policies?${__url_time_range}".to_owned()
}

pub(super) fn trace_link() -> String {
    "${traces}${__value.raw}".to_owned()
}

/// Rows of the rollups that a dashboard is about, such as `destination = ..`.
pub(super) fn from_traffic(which: &str) -> String {
    format!("FROM traffic_${{resolution}} WHERE $__timeFilter(time) AND {which}")
}

/// The same, for what is asked of the whole span: whole hours come from the rollup by hour, of which there are few rows.
pub(super) fn over_span(which: &str) -> String {
    let first = "date_trunc('hour', CAST($__timeFrom() AS TIMESTAMP)) + INTERVAL '1 hour'";
    let last = "date_trunc('hour', CAST($__timeTo() AS TIMESTAMP))";
    format!(
        "FROM (\n  SELECT * FROM traffic_1h WHERE time >= {first} AND time < {last}\n  UNION ALL\n  \
         SELECT * FROM traffic_${{resolution}} WHERE $__timeFilter(time) AND (time < {first} OR time >= {last})\n\
         ) AS traffic WHERE {which}"
    )
}

/// Requests per second by one column.
pub(super) fn rate_by(
    title: &'static str,
    description: &'static str,
    column: &str,
    when_null: &str,
    which: &str,
) -> Panel {
    Panel::new(Kind::Stacked, title, "reqps", description).sql(format!(
        "SELECT $__timeGroupAlias(time,$__interval), coalesce({column}, '{when_null}') AS metric,\n       \
         sum(requests) * 1000.0 / $__interval_ms AS requests\n{} GROUP BY 1, 2 ORDER BY 1",
        from_traffic(which)
    ))
}

/// Quantiles of the duration over time.
pub(super) fn latency(which: &str) -> Panel {
    let description = "How long admitted requests took, from the first byte of the request to the last one of the response: \
        quantiles of the exact histogram that the rollups keep, to within 9%.";
    Panel::new(Kind::Lines, "Duration", "µs", description).sql(format!(
        "SELECT $__timeGroupAlias(time,$__interval),\n       {QUANTILES}\n{} AND decision = 'allow' GROUP BY 1 ORDER BY 1",
        from_traffic(which)
    ))
}

/// One number of the whole span.
pub(super) fn number(
    title: &'static str,
    unit: &'static str,
    description: &'static str,
    expression: &str,
    which: &str,
) -> Panel {
    let text = format!("SELECT {expression} AS value\n{}", over_span(which));
    Panel::new(Kind::Stat, title, unit, description).sql(text)
}

/// The six numbers at the top.
pub(super) fn numbers(which: &str) -> Vec<Panel> {
    let per_second = "/ ($__unixEpochTo() - $__unixEpochFrom())";
    let share = |decisions: &str| {
        format!("sum(CASE WHEN decision IN ({decisions}) THEN requests ELSE 0 END) * 1.0 / nullif(sum(requests), 0)")
    };
    vec![
        number(
            "Requests",
            "reqps",
            "Requests per second over the whole span.",
            &format!("sum(requests) * 1.0 {per_second}"),
            which,
        ),
        number(
            "Success",
            "percentunit",
            "Share of the admitted requests that did not fail: no 5xx, and an answer at all.",
            &format!("1 - {FAILED}"),
            which,
        ),
        number("Denied", "percentunit", "Share of all requests that an access policy denied.", &share("'deny'"), which),
        number(
            "Limited",
            "percentunit",
            "Share of all requests that were over a limit, or shed for lack of capacity.",
            &share("'limit', 'shed'"),
            which,
        ),
        number(
            "p99",
            "µs",
            "One in a hundred admitted requests took longer.",
            "histogram_quantile(0.99, duration_offset, duration_counts, duration_zero)",
            &format!("{which} AND decision = 'allow'"),
        ),
        number(
            "Bytes out",
            "Bps",
            "Bytes of responses per second.",
            &format!("sum(response_bytes) * 1.0 {per_second}"),
            which,
        ),
    ]
}

/// Where the time goes, with single requests as points that lead to their traces.
pub(super) fn heatmap(labels: &str) -> Panel {
    let description = "How many requests took how long. Points are single requests: a click leads to the trace.";
    Panel::new(Kind::Heatmap, "Duration, all requests", "s", description).promql(
        format!("sum by (le) (increase(tollgate_request_duration_seconds_bucket{{{labels}}}[$__rate_interval]))"),
        "{{le}}",
    )
}
