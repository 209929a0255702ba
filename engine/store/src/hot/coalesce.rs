//! Chooses which batches to put together.

use std::ops::Range;

/// A batch of this many rows is large enough.
const SMALL_ROWS: usize = 8_192;
/// Most rows of a batch that was put together.
const ROWS_MAX: usize = 65_536;
/// Fewer neighbours than this are left alone: each merge copies what earlier merges made.
const RUN_MIN: usize = 16;

/// Runs of neighbouring small batches, given the rows of each batch.
pub(crate) fn runs(rows: &[usize]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    let mut sum = 0;
    let mut close = |run: Range<usize>, sum: usize| {
        let is_full = sum >= SMALL_ROWS && run.len() > 1;
        if is_full || run.len() >= RUN_MIN {
            runs.push(run);
        }
    };
    for (index, batch) in rows.iter().copied().enumerate() {
        if batch >= SMALL_ROWS || sum + batch > ROWS_MAX {
            close(start..index, sum);
            (start, sum) = (index, 0);
        }
        if batch >= SMALL_ROWS {
            start = index + 1;
        } else {
            sum += batch;
        }
    }
    close(start..rows.len(), sum);
    runs
}
