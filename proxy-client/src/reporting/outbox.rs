//! Encoded batches on their way to the engine.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tollgate_api::v1;

/// Most batches that are sent and not yet acknowledged.
const IN_FLIGHT_MAX: usize = 16;

/// Batches that wait to be sent, and those sent but not acknowledged.
///
/// Bound: `bytes_max` over both. When it is reached, the oldest batch that was never sent is dropped and its rows counted as
/// `buffer_full`. One in flight is never dropped: the engine may have it already, so that its rows would be counted as lost
/// although they are not, and its number would leave a gap. Numbers are given at the first sending for the same reason.
pub(super) struct Outbox {
    bytes_max: usize,
    inner: Mutex<Inner>,
    changed: Notify,
}

/// One batch as it is sent.
pub(super) struct Encoded {
    pub(super) rows: u64,
    pub(super) arrow_ipc: Bytes,
}

/// Rows lost since the start, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowLosses {
    /// The engine was away for too long, or too slow.
    pub buffer_full: u64,
    /// The engine refused the batch.
    pub rejected: u64,
    /// The batch could not be encoded.
    pub encode: u64,
}

/// What waits, and what became of the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxState {
    /// Rows in encoded batches that are not acknowledged.
    pub rows: u64,
    /// Bytes of those batches.
    pub bytes: usize,
    /// Rows acknowledged since the start.
    pub acknowledged_rows: u64,
    /// Rows lost since the start.
    pub losses: RowLosses,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Encoded>,
    in_flight: VecDeque<(u64, Encoded)>,
    in_flight_bytes: usize,
    /// Number of the batch that was sent last.
    sequence: u64,
    rows: u64,
    bytes: usize,
    acknowledged_rows: u64,
    losses: RowLosses,
}

impl Outbox {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, inner: Mutex::default(), changed: Notify::new() }
    }

    /// Adds a batch, at the cost of older ones when there is no room.
    pub(super) fn push(&self, encoded: Encoded) {
        let mut inner = self.inner.lock();
        inner.rows += encoded.rows;
        inner.bytes += encoded.arrow_ipc.len();
        inner.waiting.push_back(encoded);
        while inner.bytes > self.bytes_max {
            let Some(oldest) = inner.waiting.pop_front() else { break };
            inner.forget(&oldest);
            inner.losses.buffer_full += oldest.rows;
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Counts rows that could not be encoded.
    pub(super) fn lose_unencoded(&self, rows: u64) {
        self.inner.lock().losses.encode += rows;
        self.changed.notify_one();
    }

    /// The next batch to send, with its number; none when there is none or enough are in flight.
    pub(super) fn take(&self) -> Option<v1::Batch> {
        let mut inner = self.inner.lock();
        // Half of the room stays for what waits: otherwise the newest rows would be the only ones left to drop. A batch that is
        // larger than the half goes alone.
        let bytes = inner.in_flight_bytes + inner.waiting.front()?.arrow_ipc.len();
        let fits = inner.in_flight.is_empty() || bytes <= self.bytes_max / 2;
        if !fits || inner.in_flight.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let encoded = inner.waiting.pop_front()?;
        inner.in_flight_bytes += encoded.arrow_ipc.len();
        inner.sequence += 1;
        let sequence = inner.sequence;
        let batch = message(sequence, &encoded);
        inner.in_flight.push_back((sequence, encoded));
        Some(batch)
    }

    /// The oldest batch in flight with a number above this one: what a new stream begins with.
    pub(super) fn in_flight_after(&self, sequence: u64) -> Option<v1::Batch> {
        let inner = self.inner.lock();
        let next = inner.in_flight.iter().find(|(number, _)| *number > sequence);
        next.map(|(number, encoded)| message(*number, encoded))
    }

    /// Forgets what the engine has kept or refused for good.
    pub(super) fn acknowledge(&self, response: &v1::ReportResponse) {
        let mut inner = self.inner.lock();
        let is_done = |number: u64| number <= response.acknowledged_sequence;
        while inner.in_flight.front().is_some_and(|(number, _)| is_done(*number)) {
            let Some((number, encoded)) = inner.in_flight.pop_front() else { break };
            inner.in_flight_bytes -= encoded.arrow_ipc.len();
            inner.forget(&encoded);
            if response.rejections.iter().any(|rejection| rejection.sequence == number) {
                inner.losses.rejected += encoded.rows;
            } else {
                inner.acknowledged_rows += encoded.rows;
            }
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Waits until there may be something to send.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn is_empty(&self) -> bool {
        let inner = self.inner.lock();
        inner.waiting.is_empty() && inner.in_flight.is_empty()
    }

    pub(super) fn state(&self) -> OutboxState {
        let inner = self.inner.lock();
        OutboxState {
            rows: inner.rows,
            bytes: inner.bytes,
            acknowledged_rows: inner.acknowledged_rows,
            losses: inner.losses,
        }
    }
}

impl Inner {
    fn forget(&mut self, encoded: &Encoded) {
        self.rows -= encoded.rows;
        self.bytes -= encoded.arrow_ipc.len();
    }
}

impl RowLosses {
    /// Every reason with its rows.
    #[must_use]
    pub fn by_reason(&self) -> [(&'static str, u64); 3] {
        [("buffer_full", self.buffer_full), ("rejected", self.rejected), ("encode", self.encode)]
    }

    pub(super) fn message(&self) -> v1::Losses {
        let losses = self.by_reason().into_iter().filter(|(_, rows)| *rows > 0);
        v1::Losses { losses: losses.map(|(reason, rows)| v1::Loss { reason: reason.to_owned(), rows }).collect() }
    }
}

fn message(sequence: u64, encoded: &Encoded) -> v1::Batch {
    v1::Batch { sequence, arrow_ipc: encoded.arrow_ipc.clone() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(rows: u64, bytes: usize) -> Encoded {
        Encoded { rows, arrow_ipc: vec![0; bytes].into() }
    }

    fn acknowledged(sequence: u64) -> v1::ReportResponse {
        v1::ReportResponse { acknowledged_sequence: sequence, rejections: Vec::new() }
    }

    #[test]
    fn drops_the_oldest_unsent_when_full() {
        let outbox = Outbox::new(100);
        outbox.push(batch(1, 40));
        assert_eq!(outbox.take().unwrap().sequence, 1);
        outbox.push(batch(2, 40));
        outbox.push(batch(4, 40));
        let state = outbox.state();
        assert_eq!((state.rows, state.bytes, state.losses.buffer_full), (5, 80, 2));
        outbox.acknowledge(&acknowledged(1));
        assert_eq!(outbox.take().unwrap().sequence, 2, "numbers have no gap");
        outbox.push(batch(8, 1_000));
        assert_eq!(outbox.state().losses.buffer_full, 10, "a batch that can never fit is lost itself");
    }

    #[test]
    fn keeps_what_is_not_acknowledged_with_its_number() {
        let outbox = Outbox::new(1_000);
        for rows in 1..=3 {
            outbox.push(batch(rows, 10));
            let _ = outbox.take();
        }
        outbox.acknowledge(&acknowledged(1));
        assert_eq!(outbox.in_flight_after(0).unwrap().sequence, 2);
        assert_eq!(outbox.in_flight_after(2).unwrap().sequence, 3);
        assert!(outbox.in_flight_after(3).is_none());
        assert_eq!(outbox.state().acknowledged_rows, 1);
        assert!(!outbox.is_empty());
    }

    #[test]
    fn a_rejected_batch_is_lost_and_not_sent_again() {
        let outbox = Outbox::new(1_000);
        outbox.push(batch(7, 10));
        let _ = outbox.take();
        let rejection = v1::Rejection { sequence: 1, code: "schema".to_owned(), message: String::new() };
        outbox.acknowledge(&v1::ReportResponse { acknowledged_sequence: 1, rejections: vec![rejection] });
        assert!(outbox.is_empty());
        assert_eq!(outbox.state().losses.rejected, 7);
    }

    #[test]
    fn half_of_the_room_is_left_for_what_is_new() {
        let outbox = Outbox::new(100);
        (0..3).for_each(|_| outbox.push(batch(1, 30)));
        assert_eq!(std::iter::from_fn(|| outbox.take()).count(), 1);
        outbox.push(batch(8, 30));
        assert_eq!(outbox.state().losses.buffer_full, 1);
        for sequence in 1..=3 {
            outbox.acknowledge(&acknowledged(sequence));
            let _ = outbox.take();
        }
        assert_eq!(outbox.state().acknowledged_rows, 10, "the newest rows are not the ones that were dropped");
    }

    #[test]
    fn no_more_is_in_flight_than_the_window_takes() {
        let outbox = Outbox::new(1_000);
        (0..20).for_each(|_| outbox.push(batch(1, 1)));
        assert_eq!(std::iter::from_fn(|| outbox.take()).count(), IN_FLIGHT_MAX);
        outbox.acknowledge(&acknowledged(1));
        assert!(outbox.take().is_some() && outbox.take().is_none());
    }

    proptest! {
        #[test]
        fn every_row_is_waiting_acknowledged_or_lost(steps in prop::collection::vec((0..3u8, 1..50usize, 1..9u64), 1..200)) {
            let outbox = Outbox::new(120);
            let (mut pushed, mut sent) = (0, 0);
            for (step, bytes, rows) in steps {
                match step {
                    0 => { outbox.push(batch(rows, bytes)); pushed += rows; }
                    1 => if let Some(batch) = outbox.take() { prop_assert_eq!(batch.sequence, sent + 1); sent += 1; },
                    _ => outbox.acknowledge(&acknowledged(sent.saturating_sub(rows))),
                }
                let state = outbox.state();
                prop_assert!(state.bytes <= 120);
                prop_assert_eq!(state.rows + state.acknowledged_rows + state.losses.buffer_full, pushed);
            }
        }
    }
}
