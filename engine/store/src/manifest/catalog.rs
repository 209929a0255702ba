//! What the entries of a manifest add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entry::{Entry, FileEntry, MarkEntry};
use crate::objects::Place;
use crate::{Marks, Position};

/// What the entries of a manifest add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Catalog {
    pub(crate) engine: String,
    /// Where the files are; `None` while it is not known.
    pub(crate) place: Option<Place>,
    /// Rises with each entry that adds files, and is part of their names.
    pub(crate) generation: u64,
    pub(crate) sealed_through: Position,
    pub(crate) marks: Marks,
    /// By key.
    pub(crate) files: BTreeMap<String, FileEntry>,
    /// By table.
    pub(crate) ledger: BTreeMap<String, Ledger>,
}

/// Where the rows of one table went. INVARIANT: the rows of its files are `sealed - merged - expired`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// Rows that were ever sealed.
    pub(crate) sealed: u64,
    /// Rows that went into others with the same key.
    pub(crate) merged: u64,
    /// Rows that are no longer kept.
    pub(crate) expired: u64,
}

impl Catalog {
    /// Whether an entry can follow; says what is wrong if it cannot.
    pub(super) fn check(&self, entry: &Entry) -> Result<(), String> {
        match entry {
            Entry::Snapshot { .. } if !self.files.is_empty() => Err("a snapshot follows other entries".to_owned()),
            Entry::Snapshot { .. } => Ok(()),
            Entry::Seal { from, through, add, .. } => {
                if *from != self.sealed_through.next() || *through < self.sealed_through {
                    let sealed = self.sealed_through;
                    return Err(format!("records {from} to {through} cannot follow {sealed}, the last sealed one"));
                }
                self.check_files(&[], add)
            }
            Entry::Replace { remove, add, .. } => {
                let rows = |files: &mut dyn Iterator<Item = &FileEntry>| files.map(|file| file.rows).sum::<u64>();
                let (before, after) =
                    (rows(&mut remove.iter().filter_map(|key| self.files.get(key))), rows(&mut add.iter()));
                if after > before {
                    return Err(format!("{before} rows cannot become {after}"));
                }
                self.check_files(remove, add)
            }
            Entry::Expire { remove } => self.check_files(remove, &[]),
        }
    }

    /// Takes an entry in.
    pub(super) fn apply(&mut self, entry: Entry) -> Result<(), String> {
        self.check(&entry)?;
        match entry {
            Entry::Snapshot { engine, place, generation, sealed_through, marks, files, ledger } => {
                let files = files.into_iter().map(|file| (file.key.clone(), file)).collect();
                let marks = marks.into_iter().map(Into::into).collect();
                *self = Self { engine, place, generation, sealed_through, marks, files, ledger };
            }
            Entry::Seal { generation, through, marks, add, .. } => {
                self.generation = generation;
                self.sealed_through = through;
                marks.into_iter().for_each(|mark| self.marks.advance(&mark.into()));
                for file in add {
                    self.ledger.entry(file.table.clone()).or_default().sealed += file.rows;
                    self.files.insert(file.key.clone(), file);
                }
            }
            Entry::Replace { generation, remove, add } => {
                self.generation = generation;
                for file in self.take(&remove) {
                    self.ledger.entry(file.table).or_default().merged += file.rows;
                }
                for file in add {
                    let ledger = self.ledger.entry(file.table.clone()).or_default();
                    ledger.merged = ledger.merged.saturating_sub(file.rows);
                    self.files.insert(file.key.clone(), file);
                }
            }
            Entry::Expire { remove } => {
                for file in self.take(&remove) {
                    self.ledger.entry(file.table).or_default().expired += file.rows;
                }
            }
        }
        Ok(())
    }

    /// One entry that stands for all.
    pub(super) fn snapshot(&self) -> Entry {
        Entry::Snapshot {
            engine: self.engine.clone(),
            place: self.place.clone(),
            generation: self.generation,
            sealed_through: self.sealed_through,
            marks: self.marks.iter().map(Into::into).collect(),
            files: self.files.values().cloned().collect(),
            ledger: self.ledger.clone(),
        }
    }

    /// The marks that are not these.
    pub(super) fn changed(&self, marks: &Marks) -> Vec<MarkEntry> {
        let is_new = |mark: &crate::marks::Mark| self.marks.sequence(&mark.reporter, mark.epoch) != mark.sequence;
        marks.iter().filter(is_new).map(Into::into).collect()
    }

    fn check_files(&self, remove: &[String], add: &[FileEntry]) -> Result<(), String> {
        if let Some(key) = remove.iter().find(|key| !self.files.contains_key(*key)) {
            return Err(format!("`{key}` is removed, but it is not there"));
        }
        match add.iter().find(|file| self.files.contains_key(&file.key)) {
            Some(file) => Err(format!("`{}` is added a second time", file.key)),
            None => Ok(()),
        }
    }

    fn take(&mut self, keys: &[String]) -> Vec<FileEntry> {
        keys.iter().filter_map(|key| self.files.remove(key)).collect()
    }
}
