//! Chooses which batches to put together.

use std::sync::Arc;

use super::{HotBatch, HotList};

/// A batch of this many rows is large enough.
const SMALL_ROWS: usize = 8_192;
/// Most rows of a batch that was put together.
const ROWS_MAX: usize = 65_536;
/// Fewer neighbours than this are left alone: each merge copies what earlier merges made.
const RUN_MIN: usize = 16;

/// Runs of neighbouring small batches.
pub(super) fn runs(list: &HotList) -> Vec<Vec<Arc<HotBatch>>> {
    let mut runs = Vec::new();
    let mut run: Vec<Arc<HotBatch>> = Vec::new();
    let mut rows = 0;
    let mut close = |run: &mut Vec<Arc<HotBatch>>, rows: &mut usize| {
        let is_full = *rows >= SMALL_ROWS && run.len() > 1;
        if is_full || run.len() >= RUN_MIN {
            runs.push(std::mem::take(run));
        }
        run.clear();
        *rows = 0;
    };
    for batch in list {
        let batch_rows = batch.rows.num_rows();
        if batch_rows >= SMALL_ROWS || rows + batch_rows > ROWS_MAX {
            close(&mut run, &mut rows);
        }
        if batch_rows < SMALL_ROWS {
            rows += batch_rows;
            run.push(Arc::clone(batch));
        }
    }
    close(&mut run, &mut rows);
    runs
}
