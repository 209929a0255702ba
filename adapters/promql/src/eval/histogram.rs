//! Quantiles of classic histograms, whose buckets are counters with the label `le`.

use std::collections::HashMap;

use promql_parser::parser::Expr;

use super::Evaluator;
use crate::columns::{Column, Steps};
use crate::error::Error;
use crate::labels::{BUCKET, Labels};

/// Observations up to and including a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    upper: f64,
    count: f64,
}

impl Evaluator<'_> {
    pub(super) fn histogram_quantile(&self, q: &Expr, buckets: &Expr, steps: Steps) -> Result<Vec<Column>, Error> {
        let q = self.scalar(q, steps)?;
        let columns = self.vector(buckets, steps)?;
        let mut output = self.output(steps);
        for (labels, members) in histograms(&columns) {
            let column = output.column(labels)?;
            for (step, q) in q.iter().enumerate() {
                let count = |&(upper, member): &(f64, &Column)| Some(Bucket { upper, count: member.values[step]? });
                let mut buckets: Vec<Bucket> = members.iter().filter_map(count).collect();
                if !buckets.is_empty() {
                    output.put(column, step, quantile(*q, &mut buckets))?;
                }
            }
        }
        Ok(output.finish())
    }
}

/// The columns of each histogram with their bounds, which rise. One whose `le` is no number belongs to none.
fn histograms(columns: &[Column]) -> Vec<(Labels, Vec<(f64, &Column)>)> {
    let mut found: Vec<(Labels, Vec<(f64, &Column)>)> = Vec::new();
    let mut index: HashMap<Labels, usize> = HashMap::new();
    let without = [BUCKET.to_owned()];
    for column in columns {
        let Ok(upper) = column.labels.get(BUCKET).parse::<f64>() else { continue };
        let labels = column.labels.without(&without);
        let at = *index.entry(labels).or_insert_with_key(|labels| {
            found.push((labels.clone(), Vec::new()));
            found.len() - 1
        });
        found[at].1.push((upper, column));
    }
    for (_, members) in &mut found {
        members.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    found
}

/// As `bucketQuantile` in Prometheus' `promql/quantile.go`.
fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if buckets.last().is_none_or(|last| last.upper != f64::INFINITY) {
        return f64::NAN;
    }
    merge_equal_bounds(buckets);
    make_monotonic(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if buckets.len() < 2 || observations == 0.0 || observations.is_nan() {
        return f64::NAN;
    }
    let rank = q * observations;
    let at = buckets[..last].partition_point(|bucket| bucket.count < rank);
    if at == last {
        return buckets[last - 1].upper;
    }
    let Bucket { upper, count } = buckets[at];
    if at == 0 && upper <= 0.0 {
        return upper;
    }
    let below = if at == 0 { Bucket { upper: 0.0, count: 0.0 } } else { buckets[at - 1] };
    below.upper + (upper - below.upper) * ((rank - below.count) / (count - below.count))
}

fn merge_equal_bounds(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|bucket, kept| {
        let is_same = bucket.upper == kept.upper;
        if is_same {
            kept.count += bucket.count;
        }
        is_same
    });
}

/// Rounding and missed samples can make a bucket smaller than the one below it.
fn make_monotonic(buckets: &mut [Bucket]) {
    let mut most = f64::NEG_INFINITY;
    for bucket in buckets {
        if bucket.count > most {
            most = bucket.count;
        } else if bucket.count < most {
            bucket.count = most;
        }
    }
}
