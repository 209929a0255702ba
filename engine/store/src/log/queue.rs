//! What waits for the writer.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::Record;
use super::segment::RECORD_HEADER_BYTES;
use crate::view::Position;

/// With so many bytes waiting, they are written at once.
const ENOUGH_BYTES: usize = 1 << 20;
/// Most bytes that go into one group, but for a single record that is larger.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// A record that has its place in the log.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) position: Position,
    pub(crate) record: Record,
    /// What goes with it to whoever is told that it is durable.
    pub(crate) item: T,
}

impl<T> Entry<T> {
    pub(super) fn bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.record.reporter.len() + self.record.payload.len()
    }
}

/// Records on their way to the writer, in the order of their positions.
///
/// It has no bound of its own: whoever adds a record has taken room for it from the store's memory bound first.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting<T> {
    next: Position,
    entries: Vec<Entry<T>>,
    bytes: usize,
    is_closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(next: Position) -> Self {
        let waiting = Waiting { next, entries: Vec::new(), bytes: 0, is_closed: false };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    /// Gives the record the next position; `None` once the queue is closed.
    pub(super) fn push(&self, record: Record, item: T) -> Option<Position> {
        let mut waiting = self.waiting.lock();
        if waiting.is_closed {
            return None;
        }
        let position = waiting.next;
        waiting.next = position.next();
        let entry = Entry { position, record, item };
        let bytes = waiting.bytes;
        waiting.bytes += entry.bytes();
        waiting.entries.push(entry);
        if bytes == 0 || (bytes < ENOUGH_BYTES && waiting.bytes >= ENOUGH_BYTES) {
            self.changed.notify_one();
        }
        Some(position)
    }

    /// Waits for records and returns the oldest of them, not before `pace` unless many wait. `None` when the queue is closed
    /// and empty.
    pub(super) fn take(&self, pace: Instant) -> Option<Vec<Entry<T>>> {
        let mut waiting = self.waiting.lock();
        while waiting.entries.is_empty() {
            if waiting.is_closed {
                return None;
            }
            self.changed.wait(&mut waiting);
        }
        while waiting.bytes < ENOUGH_BYTES && !waiting.is_closed {
            if self.changed.wait_until(&mut waiting, pace).timed_out() {
                break;
            }
        }
        Some(waiting.take_group())
    }

    /// Waits, unless the queue is closed meanwhile; says whether it is.
    pub(super) fn wait_until(&self, deadline: Instant) -> bool {
        let mut waiting = self.waiting.lock();
        while !waiting.is_closed && !self.changed.wait_until(&mut waiting, deadline).timed_out() {}
        waiting.is_closed
    }

    /// Takes no further records; those that wait are still handed out.
    pub(super) fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Records and bytes that wait.
    pub(super) fn depth(&self) -> (usize, usize) {
        let waiting = self.waiting.lock();
        (waiting.entries.len(), waiting.bytes)
    }
}

impl<T> Waiting<T> {
    fn take_group(&mut self) -> Vec<Entry<T>> {
        let mut bytes = 0;
        let fits = |entry: &&Entry<T>| {
            let is_first = bytes == 0;
            bytes += entry.bytes();
            is_first || bytes <= GROUP_BYTES_MAX
        };
        let count = self.entries.iter().take_while(fits).count();
        let rest = self.entries.split_off(count);
        let group = std::mem::replace(&mut self.entries, rest);
        self.bytes -= group.iter().map(Entry::bytes).sum::<usize>();
        group
    }
}
