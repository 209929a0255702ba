//! Functions of a window over one series. Semantics and order of arithmetic are those of Prometheus' `promql/functions.go`.

use super::aggregate::quantile;
use super::range_vector::Window;

/// What a function makes of one window, given its other argument, if it has one.
pub(super) type WindowFunction = fn(&Window<'_>, f64) -> Option<f64>;

/// The window function of this name.
pub(super) fn find(name: &str) -> Option<WindowFunction> {
    Some(match name {
        "rate" => |window, _| extrapolated(window, Kind::Rate),
        "increase" => |window, _| extrapolated(window, Kind::Increase),
        "delta" => |window, _| extrapolated(window, Kind::Delta),
        "irate" => |window, _| newest_two(window, true),
        "idelta" => |window, _| newest_two(window, false),
        "avg_over_time" => |window, _| Some(mean(window)),
        "min_over_time" => |window, _| values(window).reduce(|a, b| if b < a || a.is_nan() { b } else { a }),
        "max_over_time" => |window, _| values(window).reduce(|a, b| if b > a || a.is_nan() { b } else { a }),
        "sum_over_time" => |window, _| Some(sum(values(window))),
        "count_over_time" => |window, _| Some(window.samples.len() as f64),
        "last_over_time" => |window, _| values(window).last(),
        "first_over_time" => |window, _| values(window).next(),
        "present_over_time" => |_, _| Some(1.0),
        "quantile_over_time" => |window, q| Some(quantile(q, &mut values(window).collect::<Vec<_>>())),
        "stddev_over_time" => |window, _| Some(variance(window).sqrt()),
        "stdvar_over_time" => |window, _| Some(variance(window)),
        "changes" => |window, _| Some(count_pairs(window, |a, b| a != b && !(a.is_nan() && b.is_nan()))),
        "resets" => |window, _| Some(count_pairs(window, |a, b| b < a)),
        "deriv" => |window, _| regression(window, window.samples[0].0).map(|(slope, _)| slope),
        "predict_linear" => {
            |window, ahead_s| regression(window, window.step_ms).map(|(slope, intercept)| slope * ahead_s + intercept)
        }
        _ => return None,
    })
}

fn values<'a>(window: &'a Window<'_>) -> impl Iterator<Item = f64> + 'a {
    window.samples.iter().map(|&(_, value)| value)
}

#[derive(PartialEq)]
enum Kind {
    Rate,
    Increase,
    Delta,
}

/// Growth from the first to the last sample, extended to the window's edges where the samples come near them.
fn extrapolated(window: &Window<'_>, kind: Kind) -> Option<f64> {
    let (&(first_ms, first), &(last_ms, last)) = (window.samples.first()?, window.samples.last()?);
    let count = window.samples.len();
    if count < 2 {
        return None;
    }
    let mut growth = last - first;
    if kind != Kind::Delta {
        let resets = window.samples.windows(2).filter(|pair| pair[1].1 < pair[0].1);
        growth += resets.map(|pair| pair[0].1).sum::<f64>();
    }
    let mut to_start = (first_ms - window.start_ms) as f64 / 1000.0;
    let to_end = (window.end_ms - last_ms) as f64 / 1000.0;
    let sampled = (last_ms - first_ms) as f64 / 1000.0;
    let average = sampled / (count - 1) as f64;
    if kind != Kind::Delta && growth > 0.0 && first >= 0.0 {
        // A counter is never below zero: it did not begin before the line through it meets zero.
        to_start = to_start.min(sampled * (first / growth));
    }
    let reach = |gap: f64| if gap < average * 1.1 { gap } else { average / 2.0 };
    let mut factor = (sampled + reach(to_start) + reach(to_end)) / sampled;
    if kind == Kind::Rate {
        factor /= (window.end_ms - window.start_ms) as f64 / 1000.0;
    }
    Some(growth * factor)
}

fn newest_two(window: &Window<'_>, is_rate: bool) -> Option<f64> {
    let &[.., (before_ms, before), (last_ms, last)] = window.samples else { return None };
    let growth = if is_rate && last < before { last } else { last - before };
    let seconds = (last_ms - before_ms) as f64 / 1000.0;
    (seconds != 0.0).then(|| if is_rate { growth / seconds } else { growth })
}

/// A sum and what rounding took from it (Kahan and Neumaier).
#[derive(Default)]
struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - sum) + value;
        } else {
            self.lost += (value - sum) + self.sum;
        }
        self.sum = sum;
    }

    fn get(&self) -> f64 {
        self.sum + self.lost
    }
}

fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let mut sum = Sum::default();
    values.for_each(|value| sum.add(value));
    sum.get()
}

fn mean(window: &Window<'_>) -> f64 {
    let (mut mean, mut count) = (Sum::default(), 0.0);
    for value in values(window) {
        count += 1.0;
        if mean.sum.is_infinite() && (value.is_finite() || value == mean.sum) {
            // An infinite mean stays what it is.
            continue;
        }
        let already = mean.get();
        mean.add(value / count - already / count);
    }
    if mean.sum.is_infinite() { mean.sum } else { mean.get() }
}

/// Welford's method.
fn variance(window: &Window<'_>) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, Sum::default(), Sum::default());
    for value in values(window) {
        count += 1.0;
        let delta = value - mean.get();
        mean.add(delta / count);
        squares.add(delta * (value - mean.get()));
    }
    squares.get() / count
}

fn count_pairs(window: &Window<'_>, counts: impl Fn(f64, f64) -> bool) -> f64 {
    window.samples.windows(2).filter(|pair| counts(pair[0].1, pair[1].1)).count() as f64
}

/// Slope in units per second, and the value at `origin_ms`, of the line that fits the samples best.
fn regression(window: &Window<'_>, origin_ms: i64) -> Option<(f64, f64)> {
    if window.samples.len() < 2 {
        return None;
    }
    let first = window.samples[0].1;
    if window.samples.iter().all(|&(_, value)| value == first) {
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) });
    }
    let (mut x, mut y, mut xy, mut xx) = (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for &(at_ms, value) in window.samples {
        let at_s = (at_ms - origin_ms) as f64 / 1000.0;
        x.add(at_s);
        y.add(value);
        xy.add(at_s * value);
        xx.add(at_s * at_s);
    }
    let count = window.samples.len() as f64;
    let covariance = xy.get() - x.get() * y.get() / count;
    let variance = xx.get() - x.get() * x.get() / count;
    let slope = covariance / variance;
    Some((slope, y.get() / count - slope * x.get() / count))
}
