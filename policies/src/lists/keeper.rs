//! When lists are fetched, and what holds while a source fails.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tollgate_api::v1;

use super::declaration::Declaration;
use super::matching::List;
use crate::compile::of_text;

/// After a failure a list is fetched again this soon, then after twice as long and so on, up to its own rhythm.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// A list without entries, as a source has to say it.
const EMPTY: &[u8] = b"# empty\n";
/// Most bytes that the entries of all lists together may have.
const ALL_BYTES_MAX: usize = 256 << 20;

/// The lists of a directory with what is known of their sources. Time is in milliseconds of any clock that does not go back.
#[derive(Debug, Default)]
pub struct Keeper {
    kept: BTreeMap<String, Kept>,
}

#[derive(Debug)]
struct Kept {
    declaration: Declaration,
    good: Option<Good>,
    due_ms: u64,
    failures: u32,
    problem: Option<String>,
}

/// Entries that were right.
#[derive(Debug)]
struct Good {
    number: usize,
    list: v1::List,
    fetched_ms: u64,
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
    /// Their size as text.
    pub bytes: Option<usize>,
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
            let kept = match before.remove(&declaration.name) {
                Some(kept) if kept.declaration == declaration => kept,
                // The same entries in another rhythm.
                Some(kept) if kept.declaration.is_same_list(&declaration) => {
                    Kept { declaration, due_ms: now_ms, ..kept }
                }
                _ => Kept { declaration, good: None, due_ms: now_ms, failures: 0, problem: None },
            };
            self.kept.insert(kept.declaration.name.clone(), kept);
        }
    }

    /// All of them.
    pub fn declarations(&self) -> impl Iterator<Item = &Declaration> {
        self.kept.values().map(|kept| &kept.declaration)
    }

    /// Lists that should be fetched now.
    pub fn due(&self, now_ms: u64) -> impl Iterator<Item = &Declaration> {
        self.kept.values().filter(move |kept| kept.due_ms <= now_ms).map(|kept| &kept.declaration)
    }

    /// When the next list is due, of those that are not left out.
    #[must_use]
    pub fn next_due_ms(&self, is_left_out: impl Fn(&str) -> bool) -> Option<u64> {
        let kept = self.kept.iter().filter(|(name, _)| !is_left_out(name));
        kept.map(|(_, kept)| kept.due_ms).min()
    }

    /// Takes what was fetched, or why nothing was. What cannot be used changes nothing, and is said.
    pub fn fetched(&mut self, name: &str, fetched: Result<&[u8], String>, now_ms: u64) -> Outcome {
        let others: usize =
            self.kept.iter().filter(|(other, _)| *other != name).filter_map(|(_, kept)| kept.bytes()).sum();
        let Some(kept) = self.kept.get_mut(name) else { return Outcome::Unchanged };
        let read = fetched.and_then(|bytes| {
            if others + bytes.len() > ALL_BYTES_MAX {
                return Err(format!("all lists together are larger than {} MiB", ALL_BYTES_MAX >> 20));
            }
            kept.read(bytes)
        });
        match read {
            Ok((number, list)) => {
                let is_same = kept.good.as_ref().is_some_and(|good| good.list.digest == list.digest);
                kept.good = match kept.good.take() {
                    Some(good) if is_same => Some(Good { fetched_ms: now_ms, ..good }),
                    _ => Some(Good { number, list, fetched_ms: now_ms }),
                };
                kept.went_well(now_ms);
                if is_same { Outcome::Unchanged } else { Outcome::Changed }
            }
            Err(problem) => kept.went_wrong(problem, now_ms),
        }
    }

    /// The source says that nothing has changed, which it can know only of entries that are held.
    pub fn unchanged(&mut self, name: &str, now_ms: u64) -> Outcome {
        let Some(kept) = self.kept.get_mut(name) else { return Outcome::Unchanged };
        match &mut kept.good {
            Some(good) => {
                good.fetched_ms = now_ms;
                kept.went_well(now_ms);
                Outcome::Unchanged
            }
            None => kept.went_wrong("it says that nothing has changed, and nothing is held".to_owned(), now_ms),
        }
    }

    /// Takes entries that were good in an earlier run. The list stays due.
    pub fn restore(&mut self, name: &str, bytes: &[u8], fetched_ms: u64) {
        let Some(kept) = self.kept.get_mut(name).filter(|kept| kept.good.is_none()) else { return };
        if let Ok((number, list)) = kept.read(bytes) {
            kept.good = Some(Good { number, list, fetched_ms });
        }
    }

    /// Every list as reporters get it, with its last good entries. One that was never fetched has none, and its digest is what those of
    /// all its entries will begin with: whoever holds some need not give them up.
    pub fn lists(&self) -> impl Iterator<Item = v1::List> {
        self.kept.values().map(|kept| match &kept.good {
            Some(good) => good.list.clone(),
            None => kept.list(kept.beginning(), EMPTY),
        })
    }

    /// Names of those that have entries.
    pub fn held(&self) -> impl Iterator<Item = &str> {
        self.kept.iter().filter(|(_, kept)| kept.good.is_some()).map(|(name, _)| name.as_str())
    }

    /// Every list with the state of its source.
    pub fn states(&self, now_ms: u64) -> impl Iterator<Item = (&Declaration, State)> {
        self.kept.values().map(move |kept| {
            let good = kept.good.as_ref();
            let state = State {
                name: kept.declaration.name.clone(),
                entries: good.map(|good| good.number),
                bytes: kept.bytes(),
                age_ms: good.map(|good| now_ms.saturating_sub(good.fetched_ms)),
                problem: kept.problem.clone(),
            };
            (&kept.declaration, state)
        })
    }
}

impl Kept {
    fn read(&self, bytes: &[u8]) -> Result<(usize, v1::List), String> {
        let entries = List::read(self.declaration.kind, bytes).map_err(|error| error.to_string())?.len();
        // It was read as UTF-8 just now.
        let digest = format!("{}{:032x}", self.beginning(), of_text(&String::from_utf8_lossy(bytes)));
        Ok((entries, self.list(digest, bytes)))
    }

    /// What the digests of all its entries begin with.
    fn beginning(&self) -> String {
        format!("{:032x}-", of_text(&self.declaration.identity()))
    }

    fn list(&self, digest: String, entries: &[u8]) -> v1::List {
        let Declaration { name, kind, looked, .. } = &self.declaration;
        let (kind, of) = (kind.as_str().to_owned(), looked.to_string());
        v1::List { name: name.clone(), digest, kind, of, entries: entries.to_vec().into(), held: false }
    }

    fn bytes(&self) -> Option<usize> {
        self.good.as_ref().map(|good| good.list.entries.len())
    }

    fn went_wrong(&mut self, problem: String, now_ms: u64) -> Outcome {
        let retry = RETRY_MIN.saturating_mul(1 << self.failures.min(20)).min(self.declaration.refresh);
        self.failures += 1;
        self.problem = Some(problem);
        self.due_ms = now_ms.saturating_add(millis(retry));
        Outcome::Failed
    }

    fn went_well(&mut self, now_ms: u64) {
        self.failures = 0;
        self.problem = None;
        self.due_ms = now_ms.saturating_add(millis(self.declaration.refresh));
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
