//! Chooses which files of a directory to rewrite.

use std::sync::Arc;

use super::CompactionLimits;
use crate::sealed::directory;
use crate::{Position, SealedFile, TableSpec};

/// Files of one directory that become others.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) table: usize,
    pub(super) generation: u64,
    pub(super) inputs: Vec<Arc<SealedFile>>,
    /// Whether the rows are sorted, rather than left in the order of arrival.
    pub(super) sorted: bool,
}

impl Job {
    pub(super) fn directory(&self) -> &str {
        self.inputs.first().map_or("", |file| directory(&file.key))
    }

    pub(super) fn positions(&self) -> (Position, Position) {
        let from = self.inputs.iter().map(|file| file.positions.0).min();
        let through = self.inputs.iter().map(|file| file.positions.1).max();
        (from.unwrap_or_default(), through.unwrap_or_default())
    }
}

/// What [`choose`] chose.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) files: Vec<Arc<SealedFile>>,
    pub(super) sorted: bool,
}

/// A sorted file is merged with smaller ones only when they are a quarter of it: so a row is rewritten a few times at most,
/// however many late rows trickle in.
const GROWTH: u64 = 4;
/// Fewer small sorted files than this are left alone.
const SORTED_MIN: usize = 4;

/// The files of one directory that are to be rewritten next; `None` when all is well.
pub(super) fn choose(
    table: &TableSpec,
    limits: &CompactionLimits,
    mut files: Vec<Arc<SealedFile>>,
    now_us: i64,
) -> Option<Chosen> {
    let end_us = table.partition.end_us(files.first()?.time_min_us);
    let settle_us = i64::try_from(limits.settle.as_micros()).unwrap_or(i64::MAX);
    files.sort_by_key(|file| file.positions);
    if now_us < end_us.saturating_add(settle_us) { of_open(table, limits, files) } else { of_closed(limits, files) }
}

/// Files of about one size, when there are many.
fn of_open(table: &TableSpec, limits: &CompactionLimits, files: Vec<Arc<SealedFile>>) -> Option<Chosen> {
    let small = files.into_iter().filter(|file| file.bytes < limits.file_bytes / 16);
    let mut tiers: Vec<Vec<Arc<SealedFile>>> = Vec::new();
    for file in small {
        let tier = (file.bytes.max(1).ilog2() / 3) as usize;
        if tiers.len() <= tier {
            tiers.resize_with(tier + 1, Vec::new);
        }
        tiers[tier].push(file);
    }
    let files = tiers.into_iter().find(|tier| tier.len() > limits.open_files_max)?;
    // Rows with one key become one only when they are sorted.
    Some(Chosen { files: within(limits, files), sorted: table.merge.is_some() })
}

/// What is not sorted yet, with the sorted files that are not much larger; or small sorted files.
fn of_closed(limits: &CompactionLimits, files: Vec<Arc<SealedFile>>) -> Option<Chosen> {
    let (mut sorted, unsorted): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.sorted);
    sorted.retain(|file| file.bytes < limits.file_bytes / 2);
    sorted.sort_by_key(|file| file.bytes);
    if unsorted.is_empty() {
        sorted.truncate(limits.files_max);
        return (sorted.len() >= SORTED_MIN).then_some(Chosen { files: sorted, sorted: true });
    }
    let count = unsorted.len();
    let mut files = within(limits, unsorted);
    if files.len() == count {
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        for file in sorted.into_iter().take(limits.files_max) {
            if file.bytes > bytes.saturating_mul(GROWTH) {
                break;
            }
            bytes += file.bytes;
            files.push(file);
        }
    }
    Some(Chosen { files, sorted: true })
}

/// As many as may be in memory at a time, and at least one.
fn within(limits: &CompactionLimits, files: Vec<Arc<SealedFile>>) -> Vec<Arc<SealedFile>> {
    let mut rows = 0;
    let mut fits = |file: &Arc<SealedFile>| {
        let is_first = rows == 0;
        rows += file.rows;
        is_first || rows <= limits.rows_max
    };
    files.into_iter().take_while(|file| fits(file)).collect()
}
