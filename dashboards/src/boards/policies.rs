//! What policies decide, and why.

use super::shared::{COUNTED, edge_link, resolution, service_link, trace_link, traces};
use crate::model::{Board, Kind, Panel};

pub(super) fn board() -> Board {
    Board {
        uid: "tollgate-policies",
        title: "Policy decisions",
        description: "What was denied and limited, by which policy and why; what shadow policies would do; what no request has met.",
        variables: vec![resolution(), traces()],
        sections: vec![
            ("Decisions", vec![refusals(), by_policy(), by_reason(), load()]),
            ("Why was it refused?", vec![who(), newest()]),
            ("What if? Policies in shadow mode", vec![shadow_rate(), shadow()]),
            ("Policies", vec![policies(), unused()]),
        ],
    }
}

fn refusals() -> Panel {
    let description = "Requests that were not let through, by what happened to them: `deny` by an access policy, `limit` over a rate, \
        `shed` for lack of capacity.";
    Panel::new(Kind::Stacked, "Refused requests", "reqps", description).sql(format!(
        "SELECT $__timeGroupAlias(time,$__interval), decision AS metric, sum(requests) * 1000.0 / $__interval_ms AS requests\n\
         FROM traffic_${{resolution}} WHERE $__timeFilter(time) AND {COUNTED} AND decision <> 'allow'\nGROUP BY 1, 2 ORDER BY 1"
    ))
}

fn by_policy() -> Panel {
    let description = "The same by the policy that decided. A denial that no policy explains is one that none permits.";
    Panel::new(Kind::Stacked, "Refused requests by policy", "reqps", description).sql(
        "SELECT $__timeGroupAlias(time,1m), policy AS metric, sum(requests) / 60.0 AS requests\n\
         FROM policy_traffic_1m WHERE $__timeFilter(time) AND effect = 'decided' AND decision <> 'allow' GROUP BY 1, 2 ORDER BY 1",
    )
}

fn by_reason() -> Panel {
    let description = "The same by reason: `forbidden` by a policy, `no_permit` means that no policy permits it, `rate` over a limit.";
    Panel::new(Kind::Bars, "Refused requests by reason", "short", description).sql(format!(
        "SELECT concat(decision, ': ', coalesce(reason, 'unknown')) AS reason, sum(weight) AS requests\n\
         FROM requests WHERE $__timeFilter(time) AND {COUNTED} AND decision <> 'allow' GROUP BY 1 ORDER BY 2 DESC LIMIT 20"
    ))
}

fn load() -> Panel {
    let description = "How long changes of policies took from the directory to enforcement by a proxy.";
    Panel::new(Kind::Lines, "From change to enforcement", "µs", description).sql(
        "SELECT time, cause AS metric, max(latency_us) AS latency FROM decisions\n\
         WHERE $__timeFilter(time) AND latency_us IS NOT NULL AND cause <> 'connected' GROUP BY time, cause ORDER BY 1",
    )
}

fn who() -> Panel {
    let description = "Who was refused what, why, and which policies decided. A click on the caller shows the pair.";
    Panel::new(Kind::Table, "Refused, by caller, service and reason", "none", description)
        .sql(format!(
            "SELECT coalesce(source, 'anonymous') AS source, destination, method, coalesce(route, path) AS route, decision, reason,\n       \
             array_to_string(policies, ', ') AS policies, sum(weight) AS requests, max(time) AS last\n\
             FROM requests WHERE $__timeFilter(time) AND {COUNTED} AND decision <> 'allow'\n\
             GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY requests DESC LIMIT 200"
        ))
        .unit("last", "dateTimeAsLocal")
        .link("source", "This pair", edge_link())
        .link("destination", "Service", service_link("destination"))
}

fn newest() -> Panel {
    let description = "Single requests: everything that was known when it was decided. `snapshot` is the version of the policies in force.";
    Panel::new(Kind::Table, "Newest refused requests", "none", description)
        .sql(format!(
            "SELECT time, coalesce(source, 'anonymous') AS source, source_principal, \"user\", destination, method, path, decision, reason,\n       \
             array_to_string(policies, ', ') AS policies, snapshot, reporter, encode(trace_id, 'hex') AS trace_id\n\
             FROM requests WHERE $__timeFilter(time) AND {COUNTED} AND decision <> 'allow' ORDER BY time DESC LIMIT 100"
        ))
        .unit("time", "dateTimeAsLocal")
        .link("source", "This pair", edge_link())
        .link("trace_id", "Trace", trace_link())
}

fn shadow_rate() -> Panel {
    let description = "Requests that policies in shadow mode would have refused. Nothing was refused.";
    Panel::new(Kind::Stacked, "Would be refused, by policy", "reqps", description).width(24).sql(
        "SELECT $__timeGroupAlias(time,1m), policy AS metric, sum(requests) / 60.0 AS requests\n\
         FROM policy_traffic_1m WHERE $__timeFilter(time) AND effect = 'shadow' GROUP BY 1, 2 ORDER BY 1",
    )
}

fn shadow() -> Panel {
    let description = "Whom a policy in shadow mode would hit if it were in force, and what its requests met instead.";
    Panel::new(Kind::Table, "Would be refused, by caller and service", "none", description)
        .sql(
            "SELECT policy, coalesce(source, 'anonymous') AS source, destination, decision, sum(requests) AS requests, max(last_time) AS last\n\
             FROM policy_traffic_1m WHERE $__timeFilter(time) AND effect = 'shadow'\n\
             GROUP BY policy, source, destination, decision ORDER BY requests DESC LIMIT 200",
        )
        .unit("last", "dateTimeAsLocal")
        .link("source", "This pair", edge_link())
}

fn policies() -> Panel {
    let description = "All policies in force and how often each decided. One with no requests is unused, or guards against what has not happened yet.";
    Panel::new(Kind::Table, "Policies in force", "none", description)
        .sql(
            "SELECT p.id, p.kind, p.effect, p.mode, coalesce(sum(t.requests), 0) AS requests, max(t.last_time) AS last, p.origin, p.text\n\
             FROM policies p LEFT JOIN (\n  \
             SELECT policy, requests, last_time FROM policy_traffic_1m WHERE $__timeFilter(time)\n\
             ) t ON t.policy = p.id\n\
             GROUP BY p.id, p.kind, p.effect, p.mode, p.origin, p.text ORDER BY requests DESC, p.id",
        )
        .unit("last", "dateTimeAsLocal")
}

fn unused() -> Panel {
    let description = "Access policies that no request has named since `counted_since`, whatever span is shown: permits that may go. A forbid may \
        guard against what has not happened yet.";
    Panel::new(Kind::Table, "Unused policies", "none", description)
        .sql(
            "SELECT id, effect, mode, origin, counted_since, text\n\
             FROM policies WHERE kind = 'access' AND requests + shadow_requests = 0 ORDER BY effect DESC, id",
        )
        .unit("counted_since", "dateTimeAsLocal")
}
