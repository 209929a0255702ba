//! The alert rules that PromQL can say, for a Prometheus that scrapes `/metrics` and `/metrics/mesh`, without a Grafana.

use serde_json::{Value, json};

use crate::alerts::RULES;
use crate::model::Language;

/// A rule over the mesh's series, which Grafana's rules ask SQL for.
struct MeshRule {
    name: &'static str,
    severity: &'static str,
    expression: &'static str,
    lasting: &'static str,
    summary: &'static str,
}

const MESH: [MeshRule; 4] = [
    MeshRule {
        name: "TollgateErrors",
        severity: "critical",
        // A request without a status has no class.
        expression: "sum by (destination) (rate(tollgate_requests_total{direction!=\"outbound\",decision=\"allow\",status_class=~\"5xx|\"}[10m])) \
                     / sum by (destination) (rate(tollgate_requests_total{direction!=\"outbound\",decision=\"allow\"}[10m])) > 0.05",
        lasting: "5m",
        summary: "More than 5% of the admitted requests to {{ $labels.destination }} fail",
    },
    MeshRule {
        name: "TollgateSlow",
        severity: "warning",
        expression: "histogram_quantile(0.99, sum by (le, destination) \
                     (rate(tollgate_request_duration_seconds_bucket{direction!=\"outbound\",decision=\"allow\"}[10m]))) > 1",
        lasting: "5m",
        summary: "One in a hundred requests to {{ $labels.destination }} takes more than a second",
    },
    MeshRule {
        name: "TollgateDenied",
        severity: "warning",
        expression: "sum by (source, destination) (increase(tollgate_requests_total{decision=\"deny\"}[10m])) > 100",
        lasting: "5m",
        summary: "{{ $labels.destination }} denied more than 100 requests of {{ $labels.source }} in ten minutes",
    },
    MeshRule {
        name: "TollgateLimited",
        severity: "warning",
        expression: "sum by (destination) (rate(tollgate_requests_total{direction!=\"outbound\",decision=~\"limit|shed\"}[10m])) \
                     / sum by (destination) (rate(tollgate_requests_total{direction!=\"outbound\"}[10m])) > 0.2",
        lasting: "10m",
        summary: "More than 20% of the requests to {{ $labels.destination }} are limited or shed",
    },
];

/// The file: JSON is YAML.
pub(crate) fn json() -> Value {
    let of_mesh = MESH.iter().map(|rule| {
        let labels = json!({ "severity": rule.severity, "system": "tollgate" });
        let annotations = json!({ "summary": rule.summary });
        let (alert, expr, lasting) = (rule.name, rule.expression, rule.lasting);
        json!({ "alert": alert, "expr": expr, "for": lasting, "labels": labels, "annotations": annotations })
    });
    let of_engine = RULES.iter().filter(|rule| rule.language != Language::Sql).map(|rule| rule.prometheus());
    json!({
        "groups": [
            { "name": "tollgate-mesh", "rules": of_mesh.collect::<Vec<_>>() },
            { "name": "tollgate-engine", "rules": of_engine.collect::<Vec<_>>() },
        ],
    })
}
