//! Single requests.

use super::shared::{edge_link, service_link, text, trace_link, traces};
use crate::model::{Board, Kind, Panel, Variable, VariableKind};

/// What the variables at the top choose.
const CHOSEN: &str = "$__timeFilter(time)\n  \
     AND (${caller:sqlstring} = '' OR coalesce(source, 'anonymous') = ${caller:sqlstring})\n  \
     AND (${service:sqlstring} = '' OR destination = ${service:sqlstring})\n  \
     AND (${path:sqlstring} = '' OR strpos(path, ${path:sqlstring}) > 0)\n  \
     AND (${decision:sqlstring} = 'any' OR decision = ${decision:sqlstring})\n  \
     AND (${trace:sqlstring} = '' OR encode(trace_id, 'hex') = ${trace:sqlstring} OR request_id = ${trace:sqlstring})\n  \
     AND coalesce(status, 599) >= CAST(${status:sqlstring} AS INT) AND duration_us >= CAST(${slower_ms:sqlstring} AS BIGINT) * 1000";

pub(super) fn board() -> Board {
    Board {
        uid: "tollgate-requests",
        title: "Request explorer",
        description: "Single requests, by caller, service, path, decision, status, duration, or trace.",
        variables: vec![
            text("caller", "Caller", ""),
            text("service", "Service", ""),
            text("path", "Path contains", ""),
            Variable {
                name: "decision",
                label: "Decision",
                kind: VariableKind::Choice(&["any", "allow", "deny", "limit", "shed"]),
            },
            text("status", "Status from", "0"),
            text("slower_ms", "Slower than (ms)", "0"),
            text("trace", "Trace or request id", ""),
            traces(),
        ],
        sections: vec![
            (
                "Chosen requests",
                vec![
                    rate(),
                    duration(),
                    count("path", "Paths", "What is asked for."),
                    count("reason", "Reasons", "Why requests were decided as they were."),
                ],
            ),
            ("Requests", vec![rows()]),
        ],
    }
}

fn rate() -> Panel {
    let description =
        "The chosen requests by decision, from the raw rows; sampled rows count as many as they stand for.";
    Panel::new(Kind::Stacked, "Requests", "reqps", description).sql(format!(
        "SELECT $__timeGroupAlias(time,$__interval), coalesce(decision, 'none') AS metric, sum(weight) * 1000.0 / $__interval_ms AS requests\n\
         FROM requests WHERE {CHOSEN}\nGROUP BY 1, 2 ORDER BY 1"
    ))
}

fn duration() -> Panel {
    let description = "How long the chosen requests took, and how long the called service took of that.";
    Panel::new(Kind::Lines, "Duration", "µs", description).sql(format!(
        "SELECT $__timeGroupAlias(time,$__interval), approx_percentile_cont(duration_us, 0.5) AS p50,\n       \
         approx_percentile_cont(duration_us, 0.99) AS p99, approx_percentile_cont(upstream_us, 0.99) AS upstream_p99\n\
         FROM requests WHERE {CHOSEN}\nGROUP BY 1 ORDER BY 1"
    ))
}

fn count(column: &str, title: &'static str, description: &'static str) -> Panel {
    Panel::new(Kind::Bars, title, "short", description).sql(format!(
        "SELECT coalesce({column}, 'none') AS name, sum(weight) AS requests FROM requests WHERE {CHOSEN}\nGROUP BY 1 ORDER BY 2 DESC LIMIT 20"
    ))
}

fn rows() -> Panel {
    let description = "The newest of the chosen requests, as proxies reported them, with what was decided and why.";
    let mut panel = Panel::new(Kind::Table, "Newest requests", "none", description)
        .sql(format!(
            "SELECT time, reporter, direction, coalesce(source, 'anonymous') AS source, destination, method, host, path, status, decision, reason,\n       \
             array_to_string(policies, ', ') AS policies, array_to_string(shadow, ', ') AS shadow, priority, duration_us, upstream_us, queued_us,\n       \
             request_bytes, response_bytes, attempts, response_flags, snapshot, weight, encode(trace_id, 'hex') AS trace_id, request_id\n\
             FROM requests WHERE {CHOSEN}\nORDER BY time DESC LIMIT 500"
        ))
        .unit("time", "dateTimeAsLocal")
        .unit("duration_us", "µs")
        .unit("upstream_us", "µs")
        .unit("queued_us", "µs")
        .unit("request_bytes", "bytes")
        .unit("response_bytes", "bytes")
        .link("source", "This pair", edge_link())
        .link("destination", "Service", service_link("destination"))
        .link("trace_id", "Trace", trace_link());
    panel.height = 16;
    panel
}
