//! The write-ahead log: what was acknowledged is in it until it is sealed.
//!
//! Segments of 64 MiB in `data/log`. One thread writes, with one sync for all records that wait. It never looks into a
//! payload.

mod files;
mod queue;
mod reader;
mod recovery;
mod segment;
mod status;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;

use self::files::LogFiles;
pub(crate) use self::queue::Entry;
use self::queue::Queue;
pub use self::reader::{SegmentReader, Step, read_segment};
pub(crate) use self::recovery::EachRecord;
pub use self::recovery::{DamagedSegment, LogRecovery};
pub(crate) use self::segment::{RECORD_BYTES_MAX, REPORTER_BYTES_MAX};
pub use self::segment::{SegmentError, SegmentHeader, SegmentRecord};
use self::status::Counters;
pub use self::status::{DiskState, LogStatus, SYNC_BOUNDS_US};
pub(crate) use self::writer::Sink;
use self::writer::Writer;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::view::Position;

/// One reporter's batch in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who reported, at most 4,096 bytes.
    pub reporter: Arc<str>,
    /// The reporter's run.
    pub epoch: u64,
    /// The batch's number within the run.
    pub sequence: u64,
    /// When it arrived, in microseconds since the epoch.
    pub received_us: i64,
    /// Rows of the payload. A record without rows moves the reporter's mark only: its batch was refused for good.
    pub rows: u32,
    /// The bytes as received, at most 32 MiB.
    pub payload: Bytes,
}

/// Where the log is, and what it writes into each record.
#[derive(Debug, Clone)]
pub(crate) struct LogOptions {
    pub(crate) disk: Arc<dyn Disk>,
    /// The data directory.
    pub(crate) data: PathBuf,
    pub(crate) engine: String,
    /// Fingerprint of the vocabulary, for whoever reads a log years later.
    pub(crate) schema: u32,
}

/// A log that was read and takes no records yet.
pub(crate) struct Recovered {
    pub(crate) found: LogRecovery,
    /// Position of the next record.
    pub(crate) next: Position,
    files: Arc<LogFiles>,
    schema: u32,
}

impl Recovered {
    /// Reads the log in `data/log`: `each` gets all records after `sealed`. Blocks.
    pub(crate) fn read(options: &LogOptions, sealed: Position, each: EachRecord<'_>) -> Result<Self, StoreError> {
        let files = LogFiles::new(Arc::clone(&options.disk), &options.data, &options.engine);
        let (next, found) = recovery::recover(&files, sealed, each)?;
        Ok(Self { found, next, files: Arc::new(files), schema: options.schema })
    }

    /// Starts the writer. `sink` is called on its thread.
    pub(crate) fn start<T: Send + 'static>(self, sink: Sink<T>) -> Result<Log<T>, StoreError> {
        Log::start(self.next, Some(self.files), self.schema, sink)
    }
}

/// The log, open for records.
pub(crate) struct Log<T> {
    queue: Arc<Queue<T>>,
    counters: Arc<Counters>,
    files: Option<Arc<LogFiles>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl<T: Send + 'static> Log<T> {
    /// A log that writes nothing: records are passed on as they come.
    pub(crate) fn in_memory(next: Position, sink: Sink<T>) -> Result<Self, StoreError> {
        Self::start(next, None, 0, sink)
    }

    fn start(next: Position, files: Option<Arc<LogFiles>>, schema: u32, sink: Sink<T>) -> Result<Self, StoreError> {
        let (queue, counters) = (Arc::new(Queue::new(next)), Arc::new(Counters::default()));
        let writer = Writer {
            queue: Arc::clone(&queue),
            counters: Arc::clone(&counters),
            files: files.clone(),
            durable: Position(next.0.saturating_sub(1)),
            schema,
            sink,
            active: None,
        };
        let thread = std::thread::Builder::new().name("tollgate-log".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(StoreError::io("start the thread that writes", &PathBuf::from("log")))?;
        Ok(Self { queue, counters, files, writer: Mutex::new(Some(thread)) })
    }

    /// Gives the record its position; the sink gets it, with `item`, once it is durable.
    pub(crate) fn push(&self, record: Record, item: T) -> Result<Position, StoreError> {
        self.queue.push(record, item).ok_or(StoreError::Stopping)
    }

    /// Removes segments all of whose records are sealed. Blocks.
    pub(crate) fn remove_through(&self, sealed: Position) -> Result<(), StoreError> {
        self.files.as_ref().map_or(Ok(()), |files| files.remove_through(sealed))
    }

    pub(crate) fn status(&self) -> LogStatus {
        let (waiting_records, waiting_bytes) = self.queue.depth();
        let (segments, segment_bytes) = self.files.as_ref().map_or((0, 0), |files| files.totals());
        LogStatus { waiting_records, waiting_bytes, segments, segment_bytes, ..self.counters.get() }
    }

    /// Whether it can be written. Takes no lock that anybody holds while writing.
    pub(crate) fn disk(&self) -> DiskState {
        self.counters.disk()
    }

    /// Takes no further records and waits until those that wait are written, or cannot be. Blocks.
    pub(crate) fn close(&self) {
        self.queue.close();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the thread that writes the log broke off");
        }
    }
}

impl<T> Drop for Log<T> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl<T> fmt::Debug for Log<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}
