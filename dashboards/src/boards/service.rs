//! One service.

use super::shared::{
    FAILED, ONCE, QUANTILES, edge_link, heatmap, latency, numbers, over_span, policy_link, rate_by, resolution,
    service_link, service_variable, traces,
};
use crate::model::{Board, Kind, Panel};

pub(super) fn board() -> Board {
    let called = format!("{ONCE} AND destination = ${{service:sqlstring}}");
    Board {
        uid: "tollgate-service",
        title: "Service",
        description: "How one service does, who calls it, what it calls, and which policies act on it.",
        variables: vec![resolution(), service_variable("service", "Service", "destination"), traces()],
        sections: vec![
            ("${service} now", numbers(&called)),
            (
                "Over time",
                vec![
                    rate_by(
                        "Requests by decision",
                        "What happened to requests for this service.",
                        "decision",
                        "none",
                        &called,
                    ),
                    rate_by(
                        "Requests by status",
                        "Class of the status that callers got; `none` when the connection broke first.",
                        "status_class",
                        "none",
                        &called,
                    ),
                    latency(&called),
                    heatmap("direction!=\"outbound\",destination=\"$service\""),
                    rate_by("Requests by caller", "Who calls.", "source", "anonymous", &called),
                    signals(),
                ],
            ),
            ("Details", vec![callers(&called), routes(&called), calls(), policies()]),
        ],
    }
}

fn signals() -> Panel {
    let description = "The service's signals: what policies read as `resource.signals.<name>`, each in its own unit.";
    Panel::new(Kind::Lines, "Signals", "none", description).sql(
        "SELECT time, signal AS metric, integer AS value FROM signals\n\
         WHERE $__timeFilter(time) AND entity_type = 'Service' AND entity = ${service:sqlstring} AND integer IS NOT NULL ORDER BY 1",
    )
}

fn columns(first: &str) -> String {
    format!(
        "SELECT {first}, sum(requests) * 1.0 / ($__unixEpochTo() - $__unixEpochFrom()) AS rate,\n       {FAILED} AS failed,\n       \
         sum(CASE WHEN decision = 'deny' THEN requests ELSE 0 END) AS denied,\n       \
         sum(CASE WHEN decision IN ('limit', 'shed') THEN requests ELSE 0 END) AS limited,\n       {QUANTILES}"
    )
}

fn units(panel: Panel) -> Panel {
    panel.unit("rate", "reqps").unit("failed", "percentunit").unit("p50", "µs").unit("p90", "µs").unit("p99", "µs")
}

fn callers(called: &str) -> Panel {
    let text = format!(
        "{}\n{} GROUP BY source, destination ORDER BY rate DESC LIMIT 100",
        columns("coalesce(source, 'anonymous') AS source, destination"),
        over_span(called)
    );
    let description = "Who calls the service, and how that goes. A click on the caller shows the pair.";
    units(Panel::new(Kind::Table, "Callers", "none", description).sql(text)).link("source", "This pair", edge_link())
}

fn routes(called: &str) -> Panel {
    let text = format!(
        "{}\n{} GROUP BY method, route ORDER BY rate DESC LIMIT 100",
        columns("method, coalesce(route, '(no route)') AS route"),
        over_span(called)
    );
    units(Panel::new(Kind::Table, "Routes", "none", "What is asked of the service, by method and route.").sql(text))
}

fn calls() -> Panel {
    let text = format!(
        "{}\n{} GROUP BY destination ORDER BY rate DESC LIMIT 100",
        columns("destination"),
        over_span("direction = 'outbound' AND source = ${service:sqlstring} AND destination IS NOT NULL")
    );
    let description = "What the service itself calls, as its own outbound proxy sees it.";
    units(Panel::new(Kind::Table, "Called services", "none", description).sql(text)).link(
        "destination",
        "Service",
        service_link("destination"),
    )
}

fn policies() -> Panel {
    let description =
        "Which policies decided about requests for this service, and those in shadow mode that would have.";
    Panel::new(Kind::Table, "Policies", "short", description)
        .sql(
            "SELECT t.policy, t.effect, t.decision, sum(t.requests) AS requests, max(t.last_time) AS last, max(p.origin) AS origin\n\
             FROM policy_traffic_1m t LEFT JOIN policies p ON p.id = t.policy\n\
             WHERE $__timeFilter(t.time) AND t.destination = ${service:sqlstring}\n\
             GROUP BY t.policy, t.effect, t.decision ORDER BY requests DESC",
        )
        .unit("last", "dateTimeAsLocal")
        .link("policy", "Policies", policy_link())
}
