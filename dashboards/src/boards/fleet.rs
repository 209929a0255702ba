//! The proxies.

use crate::model::{Board, Kind, Panel};

pub(super) fn board() -> Board {
    Board {
        uid: "tollgate-fleet",
        title: "Fleet",
        description: "Which proxies report, which snapshot each enforces, what each lost, and how fast changes reach them.",
        variables: Vec::new(),
        sections: vec![
            ("Now", now()),
            ("Over time", vec![latency(), pushes(), rows(), lost()]),
            ("Proxies", vec![reporters(), leases(), agents()]),
            ("Pushed snapshots", vec![decisions()]),
        ],
    }
}

fn now() -> Vec<Panel> {
    let number = |title, unit, description, text: &str| Panel::new(Kind::Stat, title, unit, description).sql(text);
    vec![
        number(
            "Connected",
            "short",
            "Proxies that are connected.",
            "SELECT count(*) AS value FROM reporters WHERE connected",
        ),
        number(
            "Gone",
            "short",
            "Proxies that are known and not connected.",
            "SELECT count(*) AS value FROM reporters WHERE NOT connected",
        ),
        number(
            "Behind",
            "short",
            "Connected proxies that have not acknowledged the newest snapshot that was pushed to them.",
            "SELECT count(*) AS value FROM reporters WHERE connected AND behind",
        ),
        number(
            "Newest snapshot",
            "none",
            "Newest version that was pushed to any proxy.",
            "SELECT coalesce(max(pushed_version), 0) AS value FROM reporters",
        ),
        number(
            "Lost rows",
            "short",
            "Rows that proxies had to drop since the engine started.",
            "SELECT coalesce(sum(lost_rows), 0) AS value FROM reporters",
        ),
        number(
            "Enforcement, p99",
            "µs",
            "From a change to its enforcement, over the newest pushes.",
            "SELECT approx_percentile_cont(latency_us, 0.99) AS value FROM decisions WHERE $__timeFilter(time) AND cause <> 'connected'",
        ),
    ]
}

fn latency() -> Panel {
    let description =
        "From a change to its enforcement by the slowest proxy, by what changed. The goal is 250 ms for 99 of 100.";
    Panel::new(Kind::Lines, "From change to enforcement", "µs", description).sql(
        "SELECT $__timeGroupAlias(time,$__interval), cause AS metric, max(latency_us) AS latency FROM decisions\n\
         WHERE $__timeFilter(time) AND latency_us IS NOT NULL AND cause <> 'connected' GROUP BY 1, 2 ORDER BY 1",
    )
}

fn pushes() -> Panel {
    let description = "Snapshots pushed, by what changed.";
    Panel::new(Kind::Stacked, "Pushes", "ops", description).sql(
        "SELECT $__timeGroupAlias(time,$__interval), cause AS metric, count(*) * 1000.0 / $__interval_ms AS pushes FROM decisions\n\
         WHERE $__timeFilter(time) GROUP BY 1, 2 ORDER BY 1",
    )
}

fn rows() -> Panel {
    let description = "Requests reported, by proxy.";
    Panel::new(Kind::Stacked, "Reported requests by proxy", "reqps", description).sql(
        "SELECT $__timeGroupAlias(time,$__interval), reporter AS metric, sum(weight) * 1000.0 / $__interval_ms AS requests\n\
         FROM requests WHERE $__timeFilter(time) GROUP BY 1, 2 ORDER BY 1",
    )
}

fn lost() -> Panel {
    let description = "Rows that proxies dropped, by reason: telemetry that is missing here. Loss is never silent.";
    Panel::new(Kind::Lines, "Lost rows by reason", "short", description)
        .engine("sum by (reason) (increase(tollgate_rows_lost_total[$__rate_interval]))", "{{reason}}")
}

fn reporters() -> Panel {
    let description = "Every proxy that is known. `refused` tells why a snapshot could not be applied.";
    Panel::new(Kind::Table, "Proxies", "none", description)
        .sql(
            "SELECT name, connected, behind, acknowledged_version, pushed_version, refused, array_to_string(services, ', ') AS services, agent,\n       \
             \"rows\", batches, duplicates, rejected, lost_rows, epoch AS started, last_seen FROM reporters ORDER BY connected, behind DESC, name",
        )
        .unit("started", "dateTimeAsLocal")
        .unit("last_seen", "dateTimeFromNow")
}

fn leases() -> Panel {
    let description = "What each proxy holds of all limits together.";
    Panel::new(Kind::Table, "Leases by proxy", "none", description)
        .width(12)
        .sql(
            "SELECT reporter, count(*) AS leases, sum(rate) AS rate, sum(demand) AS demand, min(expires_in_ms) AS expires_in_ms\n\
             FROM leases GROUP BY reporter ORDER BY demand DESC",
        )
        .unit("rate", "reqps")
        .unit("demand", "reqps")
        .unit("expires_in_ms", "ms")
}

fn agents() -> Panel {
    let description = "Versions of the proxies that are connected.";
    Panel::new(Kind::Bars, "Versions", "short", description)
        .sql("SELECT agent, count(*) AS proxies FROM reporters WHERE connected GROUP BY agent ORDER BY 2 DESC")
}

fn decisions() -> Panel {
    let description = "The newest snapshots that were pushed: to whom, why, and when they were enforced.";
    Panel::new(Kind::Table, "Newest pushes", "none", description)
        .sql(
            "SELECT time, version, reporter, cause, array_to_string(parts, ', ') AS parts, pushed_at, acknowledged_at, latency_us FROM decisions\n\
             WHERE $__timeFilter(time) ORDER BY time DESC LIMIT 200",
        )
        .unit("time", "dateTimeAsLocal")
        .unit("pushed_at", "dateTimeAsLocal")
        .unit("acknowledged_at", "dateTimeAsLocal")
        .unit("latency_us", "µs")
}
