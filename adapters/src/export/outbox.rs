//! What waits to be sent, and its sending.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_engine::Engine;

use super::retry::{Backoff, Failure};

/// Most bytes that wait, as they will be sent.
const BYTES_MAX: usize = 16 << 20;
/// How long one payload is tried.
const GIVE_UP_AFTER: Duration = Duration::from_secs(300);

/// A way to a receiver.
pub(crate) trait Transport {
    /// What it carries.
    type Payload;

    fn send(&self, payload: &Self::Payload) -> impl Future<Output = Result<Accepted, Failure>> + Send;
}

/// What a receiver took: all, but for what it says that it rejected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Records, points, spans or samples.
    pub(crate) rejected: u64,
    /// A warning where nothing was rejected.
    pub(crate) message: String,
}

/// Where everything that leaves, or does not, is counted: what became of how many.
pub(crate) type Counts = Arc<dyn Fn(&'static str, u64) + Send + Sync>;

/// Counts in the engine's own metrics.
pub(crate) fn counts(engine: &Engine, to: &'static str, signal: &'static str) -> Counts {
    let engine = engine.clone();
    Arc::new(move |outcome, items| engine.metrics().exported(to, signal, outcome, items))
}

/// Payloads of one kind that wait for their receiver.
///
/// Bound: 16 MiB. The oldest make room, and what was in them is counted as `dropped_full`.
pub(crate) struct Outbox<P> {
    /// For the log.
    what: &'static str,
    waiting: Mutex<Waiting<P>>,
    arrived: Notify,
    counts: Counts,
    give_up_after: Duration,
}

struct Waiting<P> {
    parcels: VecDeque<Parcel<P>>,
    bytes: usize,
    is_closed: bool,
}

struct Parcel<P> {
    payload: P,
    items: u64,
    bytes: usize,
}

impl<P> Outbox<P> {
    pub(crate) fn new(what: &'static str, counts: Counts) -> Self {
        let waiting = Waiting { parcels: VecDeque::new(), bytes: 0, is_closed: false };
        Self { what, waiting: Mutex::new(waiting), arrived: Notify::new(), counts, give_up_after: GIVE_UP_AFTER }
    }

    /// Adds so many items of so many bytes.
    pub(crate) fn push(&self, payload: P, items: u64, bytes: usize) {
        let mut waiting = self.waiting.lock();
        waiting.parcels.push_back(Parcel { payload, items, bytes });
        waiting.bytes += bytes;
        let mut dropped = 0;
        while waiting.bytes > BYTES_MAX && waiting.parcels.len() > 1 {
            let Some(oldest) = waiting.parcels.pop_front() else { break };
            waiting.bytes -= oldest.bytes;
            dropped += oldest.items;
        }
        drop(waiting);
        self.arrived.notify_one();
        self.count("dropped_full", dropped);
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.arrived.notify_one();
    }

    /// Sends what comes until it is closed and empty, or `abandon` says that there is no more time.
    pub(crate) async fn deliver(&self, transport: &impl Transport<Payload = P>, abandon: &CancellationToken) {
        let mut is_failing = false;
        while let Some(parcel) = self.next().await {
            self.send(transport, &parcel, abandon, &mut is_failing).await;
        }
    }

    async fn next(&self) -> Option<Parcel<P>> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if let Some(parcel) = waiting.parcels.pop_front() {
                    waiting.bytes -= parcel.bytes;
                    return Some(parcel);
                }
                if waiting.is_closed {
                    return None;
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Tries until it is taken, refused for good, or too old.
    async fn send(
        &self,
        transport: &impl Transport<Payload = P>,
        parcel: &Parcel<P>,
        abandon: &CancellationToken,
        is_failing: &mut bool,
    ) {
        let (started, mut backoff) = (Instant::now(), Backoff::default());
        loop {
            let sent = tokio::select! {
                biased;
                () = abandon.cancelled() => return self.count("dropped_stopping", parcel.items),
                sent = transport.send(&parcel.payload) => sent,
            };
            let failure = match sent {
                Ok(accepted) => {
                    if std::mem::take(is_failing) {
                        tracing::info!(what = self.what, "the receiver takes telemetry again");
                    }
                    return self.accepted(parcel, &accepted);
                }
                Err(failure) => failure,
            };
            if !failure.is_retryable || started.elapsed() > self.give_up_after {
                let outcome = if failure.is_retryable { "dropped_old" } else { "dropped_refused" };
                tracing::warn!(what = self.what, items = parcel.items, why = failure.why, "telemetry is dropped");
                return self.count(outcome, parcel.items);
            }
            if !std::mem::replace(is_failing, true) {
                tracing::warn!(
                    what = self.what,
                    why = failure.why,
                    "the receiver takes no telemetry, and is tried again"
                );
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.pause(failure.after)) => {}
                () = abandon.cancelled() => {}
            }
        }
    }

    fn accepted(&self, parcel: &Parcel<P>, accepted: &Accepted) {
        let rejected = accepted.rejected.min(parcel.items);
        if rejected > 0 || !accepted.message.is_empty() {
            tracing::warn!(
                what = self.what,
                rejected,
                why = accepted.message,
                "the receiver took a part of the telemetry"
            );
        }
        self.count("rejected", rejected);
        self.count("sent", parcel.items - rejected);
    }

    fn count(&self, outcome: &'static str, items: u64) {
        if items > 0 {
            (self.counts)(outcome, items);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with what it is given, then takes everything.
    struct Receiver(Mutex<VecDeque<Result<Accepted, Failure>>>, Mutex<Vec<u32>>);

    impl Transport for Receiver {
        type Payload = u32;

        async fn send(&self, payload: &u32) -> Result<Accepted, Failure> {
            let answer = self.0.lock().pop_front().unwrap_or_else(|| Ok(Accepted::default()));
            if answer.is_ok() {
                self.1.lock().push(*payload);
            }
            answer
        }
    }

    type Counted = Arc<Mutex<Vec<(&'static str, u64)>>>;

    fn outbox() -> (Outbox<u32>, Counted) {
        let counted = Counted::default();
        let counts = Arc::clone(&counted);
        (Outbox::new("tests", Arc::new(move |outcome, items| counts.lock().push((outcome, items)))), counted)
    }

    fn failure(is_retryable: bool) -> Result<Accepted, Failure> {
        Err(Failure { is_retryable, after: Some(Duration::ZERO), why: "because".to_owned() })
    }

    async fn deliver(outbox: &Outbox<u32>, answers: Vec<Result<Accepted, Failure>>) -> Vec<u32> {
        let receiver = Receiver(Mutex::new(answers.into()), Mutex::default());
        outbox.close();
        outbox.deliver(&receiver, &CancellationToken::new()).await;
        receiver.1.into_inner()
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_in_order_and_the_rest_is_dropped() {
        let (outbox, counted) = outbox();
        (1..=4).for_each(|payload| outbox.push(payload, 10, 1));
        let part = Ok(Accepted { rejected: 3, message: "too old".to_owned() });
        let taken =
            deliver(&outbox, vec![failure(true), failure(true), Ok(Accepted::default()), failure(false), part]).await;
        assert_eq!(taken, [1, 3, 4]);
        let expected = [("sent", 10), ("dropped_refused", 10), ("rejected", 3), ("sent", 7), ("sent", 10)];
        assert_eq!(*counted.lock(), expected);
    }

    #[tokio::test]
    async fn nothing_is_tried_for_ever() {
        let (mut outbox, counted) = outbox();
        outbox.give_up_after = Duration::ZERO;
        outbox.push(1, 10, 1);
        outbox.push(2, 10, 1);
        assert_eq!(deliver(&outbox, vec![failure(true)]).await, [2]);
        assert_eq!(*counted.lock(), [("dropped_old", 10), ("sent", 10)]);
    }

    #[tokio::test]
    async fn the_oldest_make_room_and_are_counted() {
        let (outbox, counted) = outbox();
        (1..=4).for_each(|payload| outbox.push(payload, 5, BYTES_MAX / 3));
        assert_eq!(*counted.lock(), [("dropped_full", 5)]);
        assert_eq!(deliver(&outbox, Vec::new()).await, [2, 3, 4]);
    }

    #[tokio::test]
    async fn what_is_left_when_there_is_no_more_time_is_counted() {
        let (outbox, counted) = outbox();
        (1..=2).for_each(|payload| outbox.push(payload, 5, 1));
        outbox.close();
        let abandon = CancellationToken::new();
        abandon.cancel();
        outbox.deliver(&Receiver(Mutex::default(), Mutex::default()), &abandon).await;
        assert_eq!(*counted.lock(), [("dropped_stopping", 5), ("dropped_stopping", 5)]);
    }
}
