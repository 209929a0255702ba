//! One caller and one called service.

use super::shared::{
    COUNTED, FAILED, ONCE, QUANTILES, heatmap, latency, numbers, over_span, policy_link, rate_by, resolution,
    service_link, service_variable, trace_link, traces,
};
use crate::model::{Board, Kind, Panel};

/// The variable's `anonymous` stands for no caller at all.
const CALLER: &str = "coalesce(source, 'anonymous') = ${source:sqlstring}";

pub(super) fn board() -> Board {
    let between = format!("{CALLER} AND destination = ${{destination:sqlstring}}");
    let pair = format!("{ONCE} AND {between}");
    let refusals = format!("{COUNTED} AND {between}");
    let caller = service_variable("source", "Caller", "coalesce(source, 'anonymous')");
    Board {
        uid: "tollgate-edge",
        title: "Edge",
        description: "One caller and one called service: what passes, what does not, and why.",
        variables: vec![
            resolution(),
            caller,
            service_variable("destination", "Called service", "destination"),
            traces(),
        ],
        sections: vec![
            ("${source} > ${destination}", numbers(&pair)),
            (
                "Over time",
                vec![
                    rate_by(
                        "Requests by decision",
                        "What happened to this caller's requests.",
                        "decision",
                        "none",
                        &pair,
                    ),
                    rate_by("Requests by route", "What the caller asks for.", "route", "(no route)", &pair),
                    latency(&pair),
                    heatmap("direction!=\"outbound\",source=\"$source\",destination=\"$destination\""),
                ],
            ),
            ("Why", vec![reasons(&refusals), policies(), routes(&pair), refused(&refusals)]),
        ],
    }
}

fn reasons(which: &str) -> Panel {
    let description = "Why requests of this pair were decided as they were.";
    Panel::new(Kind::Table, "Reasons", "short", description)
        .width(12)
        .sql(format!(
            "SELECT decision, reason, sum(weight) AS requests, max(time) AS last\n\
         FROM requests WHERE $__timeFilter(time) AND {which} GROUP BY decision, reason ORDER BY requests DESC"
        ))
        .unit("last", "dateTimeAsLocal")
}

fn policies() -> Panel {
    let description =
        "Which policies decided about this pair; `shadow` ones would have refused, had they been in force.";
    Panel::new(Kind::Table, "Policies", "short", description)
        .width(12)
        .sql(format!(
            "SELECT policy, effect, decision, sum(requests) AS requests, max(last_time) AS last FROM policy_traffic_1m\n\
             WHERE $__timeFilter(time) AND {CALLER} AND destination = ${{destination:sqlstring}}\n\
             GROUP BY policy, effect, decision ORDER BY requests DESC"
        ))
        .unit("last", "dateTimeAsLocal")
        .link("policy", "Policies", policy_link())
}

fn routes(pair: &str) -> Panel {
    Panel::new(Kind::Table, "Routes", "none", "What the caller asks for, and how that goes.")
        .sql(format!(
            "SELECT method, coalesce(route, '(no route)') AS route, destination,\n       \
             sum(requests) * 1.0 / ($__unixEpochTo() - $__unixEpochFrom()) AS rate,\n       {FAILED} AS failed,\n       {QUANTILES}\n\
             {} GROUP BY method, route, destination ORDER BY rate DESC LIMIT 100",
            over_span(pair)
        ))
        .unit("rate", "reqps")
        .unit("failed", "percentunit")
        .unit("p50", "µs")
        .unit("p90", "µs")
        .unit("p99", "µs")
        .link("destination", "Service", service_link("destination"))
}

fn refused(which: &str) -> Panel {
    let description = "The newest requests of this pair that were refused or failed, with the policies that decided.";
    Panel::new(Kind::Table, "Refused and failed requests", "none", description)
        .sql(format!(
            "SELECT time, method, path, status, decision, reason, array_to_string(policies, ', ') AS policies, duration_us,\n       \
             encode(trace_id, 'hex') AS trace_id, request_id\n\
             FROM requests WHERE $__timeFilter(time) AND {which} AND (decision <> 'allow' OR status >= 500 OR status IS NULL)\n\
             ORDER BY time DESC LIMIT 100"
        ))
        .unit("time", "dateTimeAsLocal")
        .unit("duration_us", "µs")
        .link("policies", "Policies", policy_link())
        .link("trace_id", "Trace", trace_link())
}
