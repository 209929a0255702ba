//! How often a remembered decision served, and which attribute is to blame where it did not.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::key::{Part, Value};

const SKETCH_WORDS: usize = 64;
const SKETCH_BITS: usize = SKETCH_WORDS * 64;
/// Fewer different values ruin no cache.
const MANY_VALUES: u64 = 100;

/// How well remembered decisions served since the policies last changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheReport {
    /// Decisions that were remembered.
    pub hits: u64,
    /// Decisions for which policies were asked.
    pub misses: u64,
    /// Decisions for which policies were asked because they read the time.
    pub timed: u64,
    /// Attributes by which decisions are remembered, with about how many values each had among the misses; the most first.
    pub attributes: Vec<(String, u64)>,
}

impl CacheReport {
    /// The attribute that keeps decisions from being remembered, where most are not.
    #[must_use]
    pub fn ruined_by(&self) -> Option<&str> {
        let (name, values) = self.attributes.first()?;
        (self.misses > self.hits && *values >= MANY_VALUES).then_some(name)
    }
}

/// What one thread counts. Nobody else writes it.
#[derive(Default)]
pub(crate) struct Tally {
    hits: AtomicU64,
    misses: AtomicU64,
    timed: AtomicU64,
    /// Locked by others only while they add up.
    sketches: Mutex<Sketches>,
}

#[derive(Default)]
struct Sketches {
    /// By name in the context, or `principal`, `resource`, `action`.
    attributes: BTreeMap<&'static str, Sketch>,
    headers: BTreeMap<Arc<str>, Sketch>,
}

/// About how many different values there were: linear counting (Whang et al., 1990).
#[derive(Clone)]
struct Sketch([u64; SKETCH_WORDS]);

impl Tally {
    pub(crate) fn hit(&self) {
        // Not `fetch_add`: there is one writer.
        self.hits.store(self.hits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn timed(&self) {
        self.timed.store(self.timed.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn miss(&self) {
        self.misses.store(self.misses.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// A value of `principal`, `resource` or `action` that was new.
    pub(crate) fn name(&self, attribute: &'static str, value: &str) {
        self.sketches.lock().attributes.entry(attribute).or_default().add(value);
    }

    /// An attribute of a key that was not remembered.
    pub(crate) fn part(&self, part: &Part<'_>) {
        let mut sketches = self.sketches.lock();
        let sketch = match part.header {
            None => sketches.attributes.entry(part.name).or_default(),
            Some(name) => sketches.headers.entry(Arc::clone(name)).or_default(),
        };
        match part.value {
            Value::Absent => {}
            Value::Bool(is_true) => sketch.add(is_true),
            Value::Text(text) => sketch.add(text),
            Value::Address(address) => sketch.add(address),
        }
    }

    pub(crate) fn clear(&self) {
        [&self.hits, &self.misses, &self.timed].iter().for_each(|count| count.store(0, Ordering::Relaxed));
        *self.sketches.lock() = Sketches::default();
    }
}

/// Adds up what all threads count.
pub(crate) fn report<'a>(tallies: impl Iterator<Item = &'a Tally>) -> CacheReport {
    let mut report = CacheReport::default();
    let mut sketches: BTreeMap<String, Sketch> = BTreeMap::new();
    for tally in tallies {
        report.hits += tally.hits.load(Ordering::Relaxed);
        report.misses += tally.misses.load(Ordering::Relaxed);
        report.timed += tally.timed.load(Ordering::Relaxed);
        let of_thread = tally.sketches.lock();
        for (name, sketch) in &of_thread.attributes {
            let is_whole = matches!(*name, "principal" | "resource" | "action");
            let name = if is_whole { (*name).to_owned() } else { format!("context.{name}") };
            sketches.entry(name).or_default().join(sketch);
        }
        for (name, sketch) in &of_thread.headers {
            sketches.entry(format!("context.headers[\"{name}\"]")).or_default().join(sketch);
        }
    }
    report.attributes = sketches.into_iter().map(|(name, sketch)| (name, sketch.values())).collect();
    report.attributes.sort_by_key(|(_, values)| std::cmp::Reverse(*values));
    report
}

impl Default for Sketch {
    fn default() -> Self {
        Self([0; SKETCH_WORDS])
    }
}

impl Sketch {
    fn add(&mut self, value: impl Hash) {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        let bit = hasher.finish() as usize % SKETCH_BITS;
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    fn join(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Within a few percent up to some 10,000; beyond that too few.
    fn values(&self) -> u64 {
        let taken: u32 = self.0.iter().map(|word| word.count_ones()).sum();
        let free = (SKETCH_BITS - taken as usize).max(1);
        (SKETCH_BITS as f64 * (SKETCH_BITS as f64 / free as f64).ln()).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_attribute_with_most_values() {
        let tallies = [Tally::default(), Tally::default()];
        for number in 0..2_000 {
            let tally = &tallies[number % 2];
            tally.miss();
            let path = format!("/item/{number}");
            tally.part(&Part { name: "path", header: None, value: Value::Text(&path) });
            tally.part(&Part { name: "headers", header: Some(&Arc::from("x-a")), value: Value::Text("1") });
        }
        tallies[0].hit();
        let report = report(tallies.iter());
        assert_eq!((report.hits, report.misses), (1, 2_000));
        assert_eq!(report.ruined_by(), Some("context.path"));
        assert!((1_900..2_100).contains(&report.attributes[0].1), "{report:?}");
        assert_eq!(report.attributes[1], ("context.headers[\"x-a\"]".to_owned(), 1));
    }

    #[test]
    fn nothing_is_to_blame_where_most_is_remembered() {
        let report =
            CacheReport { hits: 9, misses: 1, attributes: vec![("a".to_owned(), 500)], ..CacheReport::default() };
        assert_eq!(report.ruined_by(), None);
    }
}
