//! Grafana dashboards, generated.
