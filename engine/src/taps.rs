//! Taps: whoever wants to see every row as it is kept, such as live tails and exports.
//!
//! A tap sees each row once, before sampling, in the order in which rows are kept, from when it was opened on. What the log
//! brings back at a start was seen before and is not shown again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::record_batch::RecordBatch;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Most bytes of batches that wait for one reader.
const BYTES_MAX: usize = 32 << 20;

/// All taps of an engine. Without any, a batch that is kept costs one load of a number.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    open: AtomicUsize,
    readers: Mutex<Readers>,
}

#[derive(Debug, Default)]
struct Readers {
    queues: Vec<Arc<Queue>>,
    is_closed: bool,
}

impl Taps {
    pub(crate) fn open(self: &Arc<Self>) -> Tap {
        let queue = Arc::<Queue>::default();
        let mut readers = self.readers.lock();
        queue.waiting.lock().is_closed = readers.is_closed;
        readers.queues.push(Arc::clone(&queue));
        self.open.store(readers.queues.len(), Ordering::Relaxed);
        drop(readers);
        Tap { taps: Arc::clone(self), queue }
    }

    /// Shows rows to all readers, and waits for none.
    pub(crate) fn show(&self, rows: &RecordBatch) {
        if self.open.load(Ordering::Relaxed) == 0 || rows.num_rows() == 0 {
            return;
        }
        let bytes = rows.get_array_memory_size();
        self.readers.lock().queues.iter().for_each(|queue| queue.push(rows, bytes));
    }

    /// Ends all of them, once what waits has been read, and those opened from now on.
    pub(crate) fn close(&self) {
        let mut readers = self.readers.lock();
        readers.is_closed = true;
        readers.queues.iter().for_each(|queue| {
            queue.waiting.lock().is_closed = true;
            queue.arrived.notify_one();
        });
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<(RecordBatch, usize)>,
    bytes: usize,
    missed: u64,
    is_closed: bool,
}

impl Queue {
    fn push(&self, rows: &RecordBatch, bytes: usize) {
        let mut waiting = self.waiting.lock();
        waiting.batches.push_back((rows.clone(), bytes));
        waiting.bytes += bytes;
        while waiting.bytes > BYTES_MAX && waiting.batches.len() > 1 {
            let Some((oldest, bytes)) = waiting.batches.pop_front() else { break };
            waiting.bytes -= bytes;
            waiting.missed += oldest.num_rows() as u64;
        }
        drop(waiting);
        self.arrived.notify_one();
    }
}

/// One reader of the rows that are kept. Dropping it ends it.
///
/// Bound: the newest 32 MiB of batches wait, and at least one batch; the oldest make room and their rows are counted as missed.
/// Readers share the batches, so many slow ones take no more memory than one.
#[derive(Debug)]
pub struct Tap {
    taps: Arc<Taps>,
    queue: Arc<Queue>,
}

impl Tap {
    /// The next batch, with the schema of `requests`; `None` when the engine has stopped. May be dropped while it waits.
    pub async fn recv(&mut self) -> Option<RecordBatch> {
        loop {
            {
                let mut waiting = self.queue.waiting.lock();
                if let Some((rows, bytes)) = waiting.batches.pop_front() {
                    waiting.bytes -= bytes;
                    return Some(rows);
                }
                if waiting.is_closed {
                    return None;
                }
            }
            self.queue.arrived.notified().await;
        }
    }

    /// Rows that had to make room before this reader took them, all in all.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.queue.waiting.lock().missed
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut readers = self.taps.readers.lock();
        readers.queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        self.taps.open.store(readers.queues.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn rows(values: impl IntoIterator<Item = i64>) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
        RecordBatch::try_from_iter([("value", column)]).unwrap()
    }

    #[tokio::test]
    async fn every_reader_sees_every_batch_from_when_it_opened() {
        let taps = Arc::<Taps>::default();
        taps.show(&rows([0]));
        let mut first = taps.open();
        taps.show(&rows([1]));
        let mut second = taps.open();
        taps.show(&rows([2, 3]));
        taps.show(&rows([]));
        taps.close();
        let read = async |tap: &mut Tap| {
            let mut seen = Vec::new();
            while let Some(rows) = tap.recv().await {
                seen.push(rows);
            }
            seen
        };
        assert_eq!(read(&mut first).await, [rows([1]), rows([2, 3])]);
        assert_eq!(read(&mut second).await, [rows([2, 3])]);
        assert_eq!((first.missed(), second.missed()), (0, 0));
        assert_eq!(read(&mut taps.open()).await, [], "too late");
    }

    #[tokio::test]
    async fn a_slow_reader_misses_the_oldest_and_knows_how_many() {
        let taps = Arc::<Taps>::default();
        let mut tap = taps.open();
        // 1 MiB each.
        let batch = |first: i64| rows(first..first + (1 << 17));
        (0..40).for_each(|first| taps.show(&batch(first)));
        let missed = tap.missed();
        assert_eq!(missed % (1 << 17), 0);
        let batches_missed = i64::try_from(missed >> 17).unwrap();
        assert!((8..12).contains(&batches_missed), "{batches_missed}");
        assert_eq!(tap.recv().await, Some(batch(batches_missed)), "the oldest that is left");
        assert_eq!(tap.missed(), missed);
    }

    #[tokio::test]
    async fn a_batch_larger_than_the_bound_is_shown() {
        let taps = Arc::<Taps>::default();
        let mut tap = taps.open();
        let large = rows(0..5 << 20);
        taps.show(&rows([1]));
        taps.show(&large);
        assert_eq!((tap.recv().await.as_ref(), tap.missed()), (Some(&large), 1));
    }

    #[test]
    fn nothing_is_kept_for_readers_that_are_gone() {
        let taps = Arc::<Taps>::default();
        let tap = taps.open();
        drop(taps.open());
        assert_eq!(taps.open.load(Ordering::Relaxed), 1);
        drop(tap);
        assert_eq!((taps.open.load(Ordering::Relaxed), taps.readers.lock().queues.len()), (0, 0));
    }

    #[tokio::test]
    async fn waits_for_what_comes_later() {
        let taps = Arc::<Taps>::default();
        let mut tap = taps.open();
        let waiting = tokio::spawn(async move { tap.recv().await });
        tokio::task::yield_now().await;
        taps.show(&rows([7]));
        assert_eq!(waiting.await.unwrap(), Some(rows([7])));
    }
}
