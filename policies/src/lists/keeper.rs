//! When lists are fetched, and what holds while a source fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Lists;
use super::declaration::Declaration;
use super::matching::List;

/// After a failure a list is fetched again this soon, then after twice as long and so on, up to its own rhythm.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// The lists of a directory with what is known of their sources. Time is in milliseconds of any monotonic clock.
#[derive(Debug, Default)]
pub struct Keeper {
    kept: BTreeMap<String, Kept>,
}

#[derive(Debug)]
struct Kept {
    declaration: Declaration,
    good: Option<(Arc<List>, u64)>,
    due_ms: u64,
    failures: u32,
    problem: Option<String>,
}

/// What became of something that was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The list is another one now.
    Changed,
    /// It is as it was.
    Unchanged,
    /// It cannot be used, and what was there before holds.
    Failed,
}

/// A list as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct State {
    /// Its name.
    pub name: String,
    /// How many entries it has; none when nothing good has ever been fetched.
    pub entries: Option<usize>,
    /// How long ago the entries were fetched, in milliseconds.
    pub age_ms: Option<u64>,
    /// What is wrong with its source.
    pub problem: Option<String>,
}

impl Keeper {
    /// Takes the lists of a directory. Of those that are declared as before, the entries stay.
    pub fn declare(&mut self, declarations: Vec<Declaration>, now_ms: u64) {
        let mut before = std::mem::take(&mut self.kept);
        for declaration in declarations {
            let known = before.remove(&declaration.name).filter(|kept| kept.declaration == declaration);
            let new =
                || Kept { declaration: declaration.clone(), good: None, due_ms: now_ms, failures: 0, problem: None };
            let kept = known.unwrap_or_else(new);
            self.kept.insert(declaration.name.clone(), kept);
        }
    }

    /// Lists that should be fetched now.
    pub fn due(&self, now_ms: u64) -> impl Iterator<Item = &Declaration> {
        self.kept.values().filter(move |kept| kept.due_ms <= now_ms).map(|kept| &kept.declaration)
    }

    /// When the next list is due.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.kept.values().map(|kept| kept.due_ms).min()
    }

    /// Takes what was fetched, or why nothing was. What cannot be used changes nothing, and is said.
    pub fn fetched(&mut self, name: &str, fetched: Result<&[u8], String>, now_ms: u64) -> Outcome {
        let Some(kept) = self.kept.get_mut(name) else { return Outcome::Unchanged };
        let read =
            fetched.and_then(|bytes| List::read(kept.declaration.kind, bytes).map_err(|error| error.to_string()));
        match read {
            Ok(list) => {
                kept.failures = 0;
                kept.problem = None;
                kept.due_ms = now_ms.saturating_add(millis(kept.declaration.refresh));
                let is_same = kept.good.as_ref().is_some_and(|(good, _)| **good == list);
                let list = match kept.good.take() {
                    Some((good, _)) if is_same => good,
                    _ => Arc::new(list),
                };
                kept.good = Some((list, now_ms));
                if is_same { Outcome::Unchanged } else { Outcome::Changed }
            }
            Err(problem) => {
                let retry = RETRY_MIN.saturating_mul(1 << kept.failures.min(20)).min(kept.declaration.refresh);
                kept.failures += 1;
                kept.problem = Some(problem);
                kept.due_ms = now_ms.saturating_add(millis(retry));
                Outcome::Failed
            }
        }
    }

    /// The last good entries of every list. One that was never fetched has none, and nothing is on it.
    #[must_use]
    pub fn lists(&self) -> Lists {
        let good = self.kept.values().filter_map(|kept| {
            let (list, _) = kept.good.as_ref()?;
            Some((kept.declaration.clone(), Arc::clone(list)))
        });
        Lists(good.collect())
    }

    /// Every list with the state of its source.
    pub fn states(&self, now_ms: u64) -> impl Iterator<Item = State> {
        self.kept.values().map(move |kept| State {
            name: kept.declaration.name.clone(),
            entries: kept.good.as_ref().map(|(list, _)| list.len()),
            age_ms: kept.good.as_ref().map(|(_, fetched_ms)| now_ms.saturating_sub(*fetched_ms)),
            problem: kept.problem.clone(),
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
