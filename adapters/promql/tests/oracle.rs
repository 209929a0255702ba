//! Asks a real Prometheus and this crate the same questions about the same samples.
//!
//! The binaries `prometheus` and `promtool` have to be installed: `make setup`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test or benchmark that cannot go on fails"
)]

#[path = "oracle/compare.rs"]
mod compare;
#[path = "oracle/expressions.rs"]
mod expressions;
#[path = "oracle/prometheus.rs"]
mod prometheus;
#[path = "oracle/samples.rs"]
mod samples;

use compare::Comparison;

#[test]
fn answers_are_those_of_prometheus() {
    let series = samples::all();
    let oracle = prometheus::Prometheus::start(&samples::open_metrics(&series));
    let mut comparison = Comparison::new(&oracle, series);
    for expression in expressions::all() {
        comparison.instant(&expression);
        comparison.range(&expression);
    }
    expressions::FORMS.into_iter().for_each(|form| comparison.form(form));
    comparison.finish();
}
