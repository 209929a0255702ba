//! Sealed rows that stay in memory, so that recent ones are not read back from Parquet.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use crate::view::{HotBatch, SealedFile};

/// Files whose rows are in memory, in the order in which they were sealed.
///
/// Bound: bytes; the oldest leave first. A file that is replaced or removed takes its rows with it.
#[derive(Debug)]
pub(super) struct Residents {
    bytes_max: usize,
    files: VecDeque<(Weak<SealedFile>, usize)>,
}

impl Residents {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, files: VecDeque::new() }
    }

    /// Keeps the rows of a file.
    pub(super) fn add(&mut self, file: &Arc<SealedFile>, rows: Vec<Arc<HotBatch>>) {
        let bytes = rows.iter().map(|batch| batch.bytes).sum();
        if bytes > self.bytes_max {
            return;
        }
        file.resident.store(Some(Arc::new(rows)));
        self.files.push_back((Arc::downgrade(file), bytes));
        self.files.retain(|(file, _)| file.strong_count() > 0);
        let mut over = self.bytes().saturating_sub(self.bytes_max);
        while over > 0
            && let Some((file, bytes)) = self.files.pop_front()
        {
            if let Some(file) = file.upgrade() {
                file.resident.store(None);
            }
            over = over.saturating_sub(bytes);
        }
    }

    /// Memory that the rows take, but for those that only a running query holds.
    pub(super) fn bytes(&self) -> usize {
        self.files.iter().filter(|(file, _)| file.strong_count() > 0).map(|(_, bytes)| bytes).sum()
    }
}
