//! The engine's own metrics as series: what `/metrics` shows, remembered for an hour.
//!
//! Bound: [`POINTS_MAX`] samples of each of [`SERIES_MAX`] series; further series are left out, older samples go.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::time::MissedTickBehavior;
use tollgate_promql::{Labels, METRIC_NAME, Samples, Selection, Series};

const INTERVAL: Duration = Duration::from_secs(15);
const POINTS_MAX: usize = 240;
const SERIES_MAX: usize = 5_000;

/// Samples of the engine's own metrics.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<BTreeMap<Labels, VecDeque<(i64, f64)>>>);

/// Takes samples for as long as somebody holds the history.
pub(super) fn keep(history: &Arc<History>, registry: &Arc<Registry>) {
    let (history, registry): (Weak<History>, _) = (Arc::downgrade(history), Arc::clone(registry));
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(history) = history.upgrade() else { return };
            let mut text = String::new();
            match prometheus_client::encoding::text::encode(&mut text, &registry) {
                Ok(()) => history.add(chrono::Utc::now().timestamp_millis(), &text),
                Err(error) => tracing::warn!(%error, "the engine's own metrics were not read"),
            }
        }
    });
}

impl History {
    fn add(&self, time_ms: i64, text: &str) {
        let mut all = self.0.lock();
        for (labels, value) in text.lines().filter_map(parse) {
            if !all.contains_key(&labels) && all.len() >= SERIES_MAX {
                continue;
            }
            let points = all.entry(labels).or_default();
            points.push_back((time_ms, value));
            if points.len() > POINTS_MAX {
                points.pop_front();
            }
        }
    }

    pub(super) fn select(&self, selection: &Selection) -> Vec<Series> {
        let span = selection.start_ms..=selection.end_ms;
        let all = self.0.lock();
        let matching = all.iter().filter(|(labels, _)| selection.matches(labels));
        let series = |(labels, points): (&Labels, &VecDeque<(i64, f64)>)| {
            let points: Vec<_> = points.iter().copied().filter(|(time_ms, _)| span.contains(time_ms)).collect();
            (!points.is_empty()).then(|| Series { labels: labels.clone(), samples: Samples::Points(points) })
        };
        matching.filter_map(series).collect()
    }

    pub(super) fn labels(&self) -> Vec<Labels> {
        self.0.lock().keys().cloned().collect()
    }
}

/// One line of the OpenMetrics text: name, labels and value. Comments and lines that are something else give nothing.
fn parse(line: &str) -> Option<(Labels, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let mut labels: Labels = [(METRIC_NAME, name)].into_iter().collect();
    let rest = match rest.strip_prefix('{') {
        Some(rest) => read_labels(rest, &mut labels)?,
        None => rest,
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((labels, value))
}

/// Reads `a="b",c="d"}` and gives what follows.
fn read_labels<'a>(mut rest: &'a str, labels: &mut Labels) -> Option<&'a str> {
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Some(rest);
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.set(name.trim_start_matches(','), value);
        rest = after.get(end + 1..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_text_format_are_read() {
        let (labels, value) = parse(r#"tollgate_a_total{b="c\"d",e="f,g}"} 12 # {x="y"} 1"#).unwrap();
        assert_eq!((labels.get(METRIC_NAME), labels.get("b"), labels.get("e")), ("tollgate_a_total", "c\"d", "f,g}"));
        assert!((value - 12.0).abs() < 1e-9);
        assert!((parse("tollgate_up 1.5").unwrap().1 - 1.5).abs() < 1e-9);
        for other in ["# HELP a b", "", "nonsense", "a{b=\"c", "a{b=\"c\"} x", "# EOF"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn keeps_the_newest_samples() {
        let history = History::default();
        for time in 0..300 {
            history.add(time, "a 1\n");
        }
        let points = history.0.lock().values().next().unwrap().clone();
        assert_eq!((points.len(), points[0].0), (POINTS_MAX, 60));
    }
}
