//! The whole mesh.

use super::shared::{
    FAILED, ONCE, QUANTILES, edge_link, heatmap, latency, numbers, over_span, rate_by, resolution, service_link,
};
use crate::model::{Board, Kind, Panel};

pub(super) fn board() -> Board {
    Board {
        uid: "tollgate-mesh",
        title: "Mesh",
        description: "Who calls whom, how much, how well, and what is refused.",
        variables: vec![resolution()],
        sections: vec![
            ("Now", numbers(ONCE)),
            ("Calls", vec![graph()]),
            (
                "Over time",
                vec![
                    rate_by("Requests by decision", "What happened to requests.", "decision", "none", ONCE),
                    rate_by(
                        "Requests by status",
                        "Class of the status that callers got; `none` when the connection broke first.",
                        "status_class",
                        "none",
                        ONCE,
                    ),
                    latency(ONCE),
                    heatmap("direction!=\"outbound\""),
                ],
            ),
            ("Services and calls", vec![services(), edges()]),
        ],
    }
}

/// What Grafana's node graph wants: nodes whose arcs add up to 1, and edges between them.
fn graph() -> Panel {
    let description = "Services and who calls them. The ring of a service shows what happened to the requests that it got: green served, \
        dark red failed, red denied, orange limited or shed. Numbers are requests per second and the 99th percentile of the duration.";
    let per_second = "($__unixEpochTo() - $__unixEpochFrom())";
    let share = |sum: &str| format!("coalesce(called.{sum} * 1.0 / called.requests, 0)");
    let nodes = format!(
        "WITH called AS (\n  SELECT destination AS service, sum(requests) AS requests,\n    \
         sum(CASE WHEN decision = 'allow' THEN errors ELSE 0 END) AS failed,\n    \
         sum(CASE WHEN decision = 'deny' THEN requests ELSE 0 END) AS denied,\n    \
         sum(CASE WHEN decision IN ('limit', 'shed') THEN requests ELSE 0 END) AS limited,\n    \
         histogram_quantile(0.99, duration_offset, duration_counts, duration_zero) AS p99\n  \
         {called} AND destination IS NOT NULL GROUP BY 1\n), names AS (\n  \
         SELECT service FROM called UNION SELECT coalesce(source, 'anonymous') AS service {called} AND destination IS NOT NULL\n)\n\
         SELECT names.service AS id, names.service AS title, coalesce(called.requests, 0) * 1.0 / {per_second} AS mainstat, called.p99 AS secondarystat,\n  \
         1 - {failed} - {denied} - {limited} AS arc__success,\n  {failed} AS arc__failed, {denied} AS arc__denied, {limited} AS arc__limited\n\
         FROM names LEFT JOIN called ON names.service = called.service",
        called = over_span(ONCE),
        failed = share("failed"),
        denied = share("denied"),
        limited = share("limited"),
    );
    let edges = format!(
        "SELECT concat(coalesce(source, 'anonymous'), ' > ', destination) AS id, coalesce(source, 'anonymous') AS source,\n       \
         destination AS target, sum(requests) * 1.0 / {per_second} AS mainstat,\n       \
         sum(CASE WHEN decision = 'allow' THEN errors ELSE requests END) * 1.0 / sum(requests) AS secondarystat\n\
         {} AND destination IS NOT NULL GROUP BY source, destination",
        over_span(ONCE)
    );
    Panel::new(Kind::NodeGraph, "Who calls whom", "reqps", description)
        .named_sql("nodes", nodes)
        .named_sql("edges", edges)
        .link("id", "Service", service_link("id"))
}

fn services() -> Panel {
    let description =
        "Every service that was called. `failed` is of the admitted requests, `denied` and `limited` are of all.";
    let text = format!(
        "SELECT destination AS service, sum(requests) * 1.0 / ($__unixEpochTo() - $__unixEpochFrom()) AS rate,\n       \
         {FAILED} AS failed,\n       \
         sum(CASE WHEN decision = 'deny' THEN requests ELSE 0 END) * 1.0 / sum(requests) AS denied,\n       \
         sum(CASE WHEN decision IN ('limit', 'shed') THEN requests ELSE 0 END) * 1.0 / sum(requests) AS limited,\n       \
         {QUANTILES}\n{} AND destination IS NOT NULL\nGROUP BY destination ORDER BY rate DESC",
        over_span(ONCE)
    );
    shares(Panel::new(Kind::Table, "Services", "none", description).sql(text)).link(
        "service",
        "Service",
        service_link("service"),
    )
}

fn edges() -> Panel {
    let description = "Every pair of caller and called service. A click on the caller shows the pair.";
    let text = format!(
        "SELECT coalesce(source, 'anonymous') AS source, destination, sum(requests) * 1.0 / ($__unixEpochTo() - $__unixEpochFrom()) AS rate,\n       \
         {FAILED} AS failed,\n       \
         sum(CASE WHEN decision = 'deny' THEN requests ELSE 0 END) * 1.0 / sum(requests) AS denied,\n       \
         sum(CASE WHEN decision IN ('limit', 'shed') THEN requests ELSE 0 END) * 1.0 / sum(requests) AS limited,\n       \
         {QUANTILES}\n{} AND destination IS NOT NULL\nGROUP BY source, destination ORDER BY rate DESC LIMIT 200",
        over_span(ONCE)
    );
    shares(Panel::new(Kind::Table, "Calls", "none", description).sql(text))
        .link("source", "This pair", edge_link())
        .link("destination", "Service", service_link("destination"))
}

fn shares(panel: Panel) -> Panel {
    panel
        .unit("rate", "reqps")
        .unit("failed", "percentunit")
        .unit("denied", "percentunit")
        .unit("limited", "percentunit")
        .unit("p50", "µs")
        .unit("p90", "µs")
        .unit("p99", "µs")
}
