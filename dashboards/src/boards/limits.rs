//! Limits, leases and queues.

use super::shared::{edge_link, resolution, traces};
use crate::model::{Board, Kind, Panel};

pub(super) fn board() -> Board {
    Board {
        uid: "tollgate-limits",
        title: "Limits and shaping",
        description: "Who asks for how much, what the buckets allow, how they are leased to proxies, and who waits.",
        variables: vec![resolution(), traces()],
        sections: vec![
            ("Over time", vec![limited(), callers(), queued(), priorities()]),
            ("Buckets now", vec![buckets(), leases()]),
            ("Who is limited", vec![who(), signals()]),
            ("Policies", vec![policies()]),
        ],
    }
}

fn limited() -> Panel {
    let description = "Requests over a limit, or shed for lack of capacity, by called service.";
    Panel::new(Kind::Stacked, "Limited requests by service", "reqps", description).sql(
        "SELECT $__timeGroupAlias(time,$__interval), destination AS metric, sum(requests) * 1000.0 / $__interval_ms AS requests\n\
         FROM traffic_${resolution} WHERE $__timeFilter(time) AND decision IN ('limit', 'shed') AND destination IS NOT NULL\n\
         GROUP BY 1, 2 ORDER BY 1",
    )
}

fn callers() -> Panel {
    let description = "The same by caller.";
    Panel::new(Kind::Stacked, "Limited requests by caller", "reqps", description).sql(
        "SELECT $__timeGroupAlias(time,$__interval), coalesce(source, 'anonymous') AS metric,\n       \
         sum(requests) * 1000.0 / $__interval_ms AS requests\n\
         FROM traffic_${resolution} WHERE $__timeFilter(time) AND decision IN ('limit', 'shed') GROUP BY 1, 2 ORDER BY 1",
    )
}

fn queued() -> Panel {
    let description = "How long requests waited for a token or for capacity, of those that waited at all.";
    Panel::new(Kind::Lines, "Time in the queue", "µs", description).sql(
        "SELECT $__timeGroupAlias(time,$__interval), coalesce(priority, 'none') AS metric,\n       \
         approx_percentile_cont(queued_us, 0.99) AS p99\n\
         FROM requests WHERE $__timeFilter(time) AND queued_us > 0 GROUP BY 1, 2 ORDER BY 1",
    )
}

fn priorities() -> Panel {
    let description = "Requests by priority: what is shed first when there is no capacity.";
    Panel::new(Kind::Stacked, "Requests by priority", "reqps", description).sql(
        "SELECT $__timeGroupAlias(time,$__interval), coalesce(priority, 'none') AS metric,\n       \
         sum(weight) * 1000.0 / $__interval_ms AS requests\n\
         FROM requests WHERE $__timeFilter(time) AND direction <> 'outbound' GROUP BY 1, 2 ORDER BY 1",
    )
}

fn buckets() -> Panel {
    let description = "Each bucket of each limit: what its policy allows, what is leased out of that, and what proxies want. `outstanding` \
        never exceeds `limit`, whatever is lost or late.";
    Panel::new(Kind::Table, "Buckets", "none", description)
        .sql(
            "SELECT l.policy, l.key, max(p.\"limit\" * 1.0 / p.window_s) AS limit_rate, sum(l.rate) AS leased, sum(l.outstanding_rate) AS outstanding,\n       \
             sum(l.safe_rate) AS safe, sum(l.demand) AS demand, count(*) AS reporters\n\
             FROM leases l LEFT JOIN policies p ON p.id = l.policy GROUP BY l.policy, l.key ORDER BY demand DESC",
        )
        .unit("limit_rate", "reqps")
        .unit("leased", "reqps")
        .unit("outstanding", "reqps")
        .unit("safe", "reqps")
        .unit("demand", "reqps")
}

fn leases() -> Panel {
    let description = "Each proxy's share of each bucket. `safe_rate` is what it may use when it is cut off.";
    Panel::new(Kind::Table, "Leases", "none", description)
        .sql(
            "SELECT policy, key, reporter, rate, burst, safe_rate, outstanding_rate, demand, expires_in_ms, acknowledged\n\
             FROM leases ORDER BY policy, key, demand DESC",
        )
        .unit("rate", "reqps")
        .unit("safe_rate", "reqps")
        .unit("outstanding_rate", "reqps")
        .unit("demand", "reqps")
        .unit("expires_in_ms", "ms")
}

fn who() -> Panel {
    let description = "Who was limited, by which policies.";
    Panel::new(Kind::Table, "Limited, by caller and policy", "none", description)
        .sql(
            "SELECT coalesce(source, 'anonymous') AS source, destination, policy, decision, sum(requests) AS requests, max(last_time) AS last\n\
             FROM policy_traffic_1m WHERE $__timeFilter(time) AND effect = 'decided' AND decision IN ('limit', 'shed')\n\
             GROUP BY source, destination, policy, decision ORDER BY requests DESC LIMIT 200",
        )
        .unit("last", "dateTimeAsLocal")
        .link("source", "This pair", edge_link())
}

fn signals() -> Panel {
    let description =
        "The signals of all services: conditions in policies read them, so a limit may come and go with them.";
    Panel::new(Kind::Lines, "Signals", "none", description).width(24).sql(
        "SELECT time, concat(entity, ' ', signal) AS metric, integer AS value FROM signals\n\
         WHERE $__timeFilter(time) AND integer IS NOT NULL ORDER BY 1",
    )
}

fn policies() -> Panel {
    let description = "All shaping policies in force.";
    Panel::new(Kind::Table, "Shaping policies", "none", description)
        .sql(
            "SELECT id, mode, \"limit\" AS tokens, window_s, burst, array_to_string(\"by\", ', ') AS counted_by, queue_ms, priority, concurrency,\n       \
             cost, offline, scope, origin FROM policies WHERE kind = 'shaping' ORDER BY id",
        )
        .unit("window_s", "s")
        .unit("queue_ms", "ms")
}
