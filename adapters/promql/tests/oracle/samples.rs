//! The samples that both sides see: regular and ragged series, resets, gaps, histograms, odd values.

use std::fmt::Write;

use tollgate_promql::{Labels, METRIC_NAME, Samples, Selection, Series, Source, SourceError};

/// 14 November 2023, at a full two hours, as blocks of Prometheus begin.
pub(crate) const START_MS: i64 = 1_699_956_000_000;
/// Half an hour of samples.
pub(crate) const END_MS: i64 = START_MS + 1_800_000;

/// Series by name and labels, with their samples.
pub(crate) struct Memory(pub(crate) Vec<Series>);

impl Source for Memory {
    fn select(&self, selection: &Selection) -> Result<Vec<Series>, SourceError> {
        let matching = self.0.iter().filter(|series| selection.matches(&series.labels));
        Ok(matching.map(|series| within(series, selection)).collect())
    }
}

fn within(series: &Series, selection: &Selection) -> Series {
    let Samples::Points(points) = &series.samples else { return series.clone() };
    let span = selection.start_ms..=selection.end_ms;
    let points = points.iter().copied().filter(|(at_ms, _)| span.contains(at_ms)).collect();
    Series { labels: series.labels.clone(), samples: Samples::Points(points) }
}

/// A small generator, so that every run sees the same samples.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

pub(crate) fn all() -> Vec<Series> {
    let mut dice = Dice(7);
    let mut all = Vec::new();
    requests(&mut dice, &mut all);
    durations(&mut dice, &mut all);
    gauges(&mut dice, &mut all);
    all.push(series("istio_build", &[("component", "pilot"), ("tag", "1.20")], ticks(15_000, |_| Some(1.0))));
    all
}

/// Counters of calls between services, as Istio names them. One restarts, one has a gap, one ends early, one begins late.
fn requests(dice: &mut Dice, all: &mut Vec<Series>) {
    for reporter in ["source", "destination"] {
        for (number, (from, to)) in [("web", "cart"), ("web", "catalog"), ("cart", "payments")].into_iter().enumerate()
        {
            for code in ["200", "404", "503"] {
                for name in ["istio_requests_total", "istio_tcp_sent_bytes_total", "istio_tcp_received_bytes_total"] {
                    let security = if number == 2 { "none" } else { "mutual_tls" };
                    let labels = edge(reporter, from, to, code, security);
                    let mut count = 0.0;
                    let points = ticks(15_000, |tick| {
                        count += dice.below(40) as f64;
                        match (number, code, tick) {
                            (0, "503", 60) => count = 3.0,
                            (1, "404", 30..60) | (2, "404", 80..) | (2, "503", ..40) => return None,
                            _ => {}
                        }
                        Some(count)
                    });
                    all.push(series(name, &labels, points));
                }
            }
        }
    }
}

fn edge<'a>(
    reporter: &'a str,
    from: &'a str,
    to: &'a str,
    code: &'a str,
    security: &'a str,
) -> Vec<(&'a str, &'a str)> {
    let service = match to {
        "cart" => "cart.shop.svc.cluster.local",
        "catalog" => "catalog.shop.svc.cluster.local",
        _ => "payments.shop.svc.cluster.local",
    };
    vec![
        ("reporter", reporter),
        ("source_workload", from),
        ("source_workload_namespace", "shop"),
        ("destination_workload", to),
        ("destination_workload_namespace", "shop"),
        ("destination_service", service),
        ("response_code", code),
        ("connection_security_policy", security),
    ]
}

fn durations(dice: &mut Dice, all: &mut Vec<Series>) {
    let bounds = ["1", "5", "10", "25", "50", "100", "250", "+Inf"];
    let metrics =
        ["istio_request_duration_milliseconds_bucket", "istio_request_bytes_bucket", "istio_response_bytes_bucket"];
    for name in metrics {
        for (from, to) in [("web", "cart"), ("cart", "payments")] {
            for reporter in ["source", "destination"] {
                let mut counts = [0.0; 8];
                let mut points = vec![Vec::new(); 8];
                for tick in 0..120 {
                    let mut below = 0.0;
                    for bucket in 0..8 {
                        counts[bucket] += below;
                        let more = dice.below(6) as f64;
                        counts[bucket] += more;
                        below += more;
                        points[bucket].push((START_MS + tick * 15_000, counts[bucket]));
                    }
                }
                for (bound, points) in bounds.iter().zip(points) {
                    let mut labels = edge(reporter, from, to, "200", "mutual_tls");
                    labels.push(("le", bound));
                    all.push(series(name, &labels, points));
                }
            }
        }
    }
}

fn gauges(dice: &mut Dice, all: &mut Vec<Series>) {
    for (zone, number) in [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("c", "1")] {
        let labels = [("zone", zone), ("number", number), ("job", "node")];
        let walk = ticks(20_000, |_| (dice.below(8) > 0).then(|| dice.below(2000) as f64 / 16.0 - 40.0));
        all.push(series("temperature", &labels, walk));
        all.push(series("capacity", &labels[..1], ticks(30_000, |tick| Some(100.0 + tick as f64))));
    }
    all.dedup_by(|a, b| a.labels == b.labels);
    let mut seen = std::collections::HashSet::new();
    all.retain(|series| seen.insert(series.labels.clone()));
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e-9, 1e300, 2.5, 0.1, 123_456_789.125];
    for (number, value) in odd.into_iter().enumerate() {
        let points = ticks(60_000, |tick| Some(if tick % 7 == 6 { 1.0 } else { value }));
        all.push(series("odd", &[("number", &number.to_string())], points));
    }
    let once = vec![(START_MS + 900_500, 42.0)];
    all.push(series("once", &[("job", "batch")], once));
}

fn ticks(every_ms: i64, mut value: impl FnMut(i64) -> Option<f64>) -> Vec<(i64, f64)> {
    let ticks = (END_MS - START_MS) / every_ms;
    (0..ticks).filter_map(|tick| Some((START_MS + tick * every_ms, value(tick)?))).collect()
}

fn series(name: &str, labels: &[(&str, &str)], points: Vec<(i64, f64)>) -> Series {
    let labels: Labels = labels.iter().copied().chain([(METRIC_NAME, name)]).collect();
    Series { labels, samples: Samples::Points(points) }
}

/// The same as a text that `promtool tsdb create-blocks-from openmetrics` reads.
pub(crate) fn open_metrics(all: &[Series]) -> String {
    let mut text = String::new();
    for series in all {
        let Samples::Points(points) = &series.samples else { continue };
        let name = series.labels.get(METRIC_NAME);
        let labels: Vec<String> = series
            .labels
            .iter()
            .filter(|(name, _)| *name != METRIC_NAME)
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        for (at_ms, value) in points {
            let value = tollgate_promql::format_value(*value);
            writeln!(text, "{name}{{{}}} {value} {}", labels.join(","), *at_ms as f64 / 1000.0).unwrap();
        }
    }
    text.push_str("# EOF\n");
    text
}
