//! Alert rules, as Grafana provisions them.

use serde_json::{Value, json};

use crate::model::Language;
use crate::provisioning::{FOLDER, PROMETHEUS_UID, SQL_UID};

/// One rule: it fires for each row or series whose number is above a threshold.
pub(crate) struct Rule {
    pub(crate) uid: &'static str,
    title: &'static str,
    severity: &'static str,
    pub(crate) language: Language,
    /// Texts of a row become labels, its number is compared.
    pub(crate) query: &'static str,
    above: f64,
    /// How long it has to be so.
    lasting: &'static str,
    summary: &'static str,
    description: &'static str,
    /// Where to look next.
    dashboard: &'static str,
}

/// How far back a rule looks.
const SPAN_S: u32 = 600;

pub(crate) static RULES: &[Rule] = &[
    Rule {
        uid: "tollgate-errors",
        title: "A service fails",
        severity: "critical",
        language: Language::Sql,
        query: "SELECT destination AS service, sum(errors) * 1.0 / sum(requests) AS errors\n\
                FROM traffic_1m WHERE $__timeFilter(time) AND direction <> 'outbound' AND decision = 'allow' AND destination IS NOT NULL\n\
                GROUP BY destination HAVING sum(requests) >= 20",
        above: 0.05,
        lasting: "5m",
        summary: "More than 5% of the admitted requests to {{ $labels.service }} fail",
        description: "Answers with 5xx, or none, over ten minutes; what policies refused does not count.",
        dashboard: "tollgate-service",
    },
    Rule {
        uid: "tollgate-slow",
        title: "A service is slow",
        severity: "warning",
        language: Language::Sql,
        query: "SELECT destination AS service, histogram_quantile(0.99, duration_offset, duration_counts, duration_zero) / 1e6 AS p99_s\n\
                FROM traffic_1m WHERE $__timeFilter(time) AND direction <> 'outbound' AND decision = 'allow' AND destination IS NOT NULL\n\
                GROUP BY destination HAVING sum(requests) >= 20",
        above: 1.0,
        lasting: "5m",
        summary: "One in a hundred requests to {{ $labels.service }} takes more than a second",
        description: "The 99th percentile of the admitted requests of ten minutes.",
        dashboard: "tollgate-service",
    },
    Rule {
        uid: "tollgate-denied",
        title: "A caller is denied",
        severity: "warning",
        language: Language::Sql,
        query: "SELECT coalesce(source, 'anonymous') AS caller, destination AS service, sum(requests) * 1.0 AS denied\n\
                FROM traffic_1m WHERE $__timeFilter(time) AND decision = 'deny' AND destination IS NOT NULL\n\
                GROUP BY 1, 2",
        above: 100.0,
        lasting: "5m",
        summary: "{{ $labels.service }} denied more than 100 requests of {{ $labels.caller }} in ten minutes",
        description: "A policy may be missing or too strict, or someone tries what is not allowed.",
        dashboard: "tollgate-policies",
    },
    Rule {
        uid: "tollgate-limited",
        title: "A service is over its limits",
        severity: "warning",
        language: Language::Sql,
        query: "SELECT destination AS service, sum(CASE WHEN decision IN ('limit', 'shed') THEN requests ELSE 0 END) * 1.0 / sum(requests) AS limited\n\
                FROM traffic_1m WHERE $__timeFilter(time) AND direction <> 'outbound' AND destination IS NOT NULL\n\
                GROUP BY destination HAVING sum(requests) >= 20",
        above: 0.2,
        lasting: "10m",
        summary: "More than 20% of the requests to {{ $labels.service }} are limited or shed",
        description: "Callers ask for more than the shaping policies, or the service's capacity, let through.",
        dashboard: "tollgate-limits",
    },
    Rule {
        uid: "tollgate-shadow",
        title: "A shadow policy would refuse",
        severity: "info",
        language: Language::Sql,
        query: "SELECT policy, destination AS service, sum(requests) * 1.0 AS requests\n\
                FROM policy_traffic_1m WHERE $__timeFilter(time) AND effect = 'shadow' AND destination IS NOT NULL\n\
                GROUP BY 1, 2",
        above: 0.0,
        lasting: "1m",
        summary: "In force, {{ $labels.policy }} would refuse requests to {{ $labels.service }}",
        description: "Look at whom it would hit before its mode is changed.",
        dashboard: "tollgate-policies",
    },
    Rule {
        uid: "tollgate-behind",
        title: "A proxy enforces an old snapshot",
        severity: "critical",
        language: Language::Sql,
        query: "SELECT name AS reporter, CASE WHEN behind THEN 1.0 ELSE 0.0 END AS behind FROM reporters WHERE connected",
        above: 0.0,
        lasting: "2m",
        summary: "{{ $labels.reporter }} has not acknowledged the newest snapshot for two minutes",
        description: "It enforces older policies, signals and leases. The column `refused` of `reporters` tells whether it could not apply it.",
        dashboard: "tollgate-fleet",
    },
    Rule {
        uid: "tollgate-disconnected",
        title: "A proxy is gone",
        severity: "warning",
        language: Language::Sql,
        query: "SELECT name AS reporter, CASE WHEN connected THEN 0.0 ELSE 1.0 END AS disconnected\n\
                FROM reporters WHERE last_seen > now() - INTERVAL '1 day'",
        above: 0.0,
        lasting: "5m",
        summary: "{{ $labels.reporter }} has been disconnected for five minutes",
        description: "It keeps its last snapshot and, until they expire, its leases.",
        dashboard: "tollgate-fleet",
    },
    Rule {
        uid: "tollgate-lost",
        title: "Telemetry is lost",
        severity: "warning",
        language: Language::EngineMetrics,
        query: "sum by (reason) (increase(tollgate_rows_lost_total[10m]))",
        above: 0.0,
        lasting: "1m",
        summary: "Proxies dropped rows: {{ $labels.reason }}",
        description: "Their buffers were full, or the engine was away for too long.",
        dashboard: "tollgate-fleet",
    },
    Rule {
        uid: "tollgate-refused",
        title: "A policy change was refused",
        severity: "warning",
        language: Language::EngineMetrics,
        query: "max(tollgate_policies_refused)",
        above: 0.0,
        lasting: "1m",
        summary: "The policy directory holds a change that cannot be loaded",
        description: "The last good policies stay in force. `GET /readyz` tells file, line and column.",
        dashboard: "tollgate-policies",
    },
    Rule {
        uid: "tollgate-enforcement",
        title: "Changes are enforced late",
        severity: "warning",
        language: Language::EngineMetrics,
        query: "histogram_quantile(0.99, sum by (le) (rate(tollgate_push_to_acknowledgement_seconds_bucket[10m])))",
        above: 1.0,
        lasting: "5m",
        summary: "From a change to its enforcement takes more than a second",
        description: "The 99th percentile over all proxies. The goal is 250 ms.",
        dashboard: "tollgate-fleet",
    },
];

pub(crate) fn json() -> Value {
    let rules: Vec<Value> = RULES.iter().map(Rule::json).collect();
    let group = json!({ "orgId": 1, "name": "tollgate", "folder": FOLDER, "interval": "1m", "rules": rules });
    json!({ "apiVersion": 1, "groups": [group] })
}

impl Rule {
    /// The same rule for a Prometheus.
    pub(crate) fn prometheus(&self) -> Value {
        let words = self.uid.split('-').map(|word| word[..1].to_uppercase() + &word[1..]);
        json!({
            "alert": words.collect::<String>(),
            "expr": format!("{} > {}", self.query, self.above),
            "for": self.lasting,
            "labels": { "severity": self.severity, "system": "tollgate" },
            "annotations": { "summary": self.summary, "description": self.description },
        })
    }

    fn json(&self) -> Value {
        let source = if self.language == Language::Sql { SQL_UID } else { PROMETHEUS_UID };
        let model = if self.language == Language::Sql {
            json!({ "refId": "A", "editorMode": "code", "rawQuery": true, "rawSql": self.query, "format": "table" })
        } else {
            json!({ "refId": "A", "editorMode": "code", "expr": self.query, "instant": true, "range": false })
        };
        let evaluator = json!({ "type": "gt", "params": [self.above] });
        let threshold =
            json!({ "refId": "B", "type": "threshold", "expression": "A", "conditions": [{ "evaluator": evaluator }] });
        json!({
            "uid": self.uid,
            "title": self.title,
            "condition": "B",
            "for": self.lasting,
            "noDataState": "OK",
            "execErrState": "Error",
            "labels": { "severity": self.severity, "system": "tollgate" },
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "__dashboardUid__": self.dashboard,
                "__panelId__": "2",
            },
            "data": [
                { "refId": "A", "relativeTimeRange": { "from": SPAN_S, "to": 0 }, "datasourceUid": source, "model": model },
                { "refId": "B", "relativeTimeRange": { "from": 0, "to": 0 }, "datasourceUid": "__expr__", "model": threshold },
            ],
        })
    }
}
