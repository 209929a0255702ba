//! The thread that writes the log: one write and one sync for all records that wait.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::files::{LogFiles, SegmentFile};
use super::queue::{Entry, Queue};
use super::segment::{self, HEADER_BYTES, Place, RECORD_HEADER_BYTES, SegmentHeader};
use super::status::Counters;
use crate::disk::DiskFile;
use crate::view::Position;

/// A segment is full with so many bytes.
pub(super) const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Groups do not begin closer together while several senders are at work, unless much is waiting. A record that comes alone
/// or after a pause is written at once.
const PACE: Duration = Duration::from_millis(5);
/// How long after a failure the next attempt is made.
const RETRY: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 250 });

/// Who is told of durable records, in the order of their positions.
pub(crate) type Sink<T> = Box<dyn FnMut(Vec<Entry<T>>) + Send>;

/// Writes groups of records until the queue is closed and empty.
///
/// INVARIANT: the sink gets a record only when it, and all before it, are synced. After a failed write the segment is cut back
/// to what was synced; after a failed sync, when the kernel may have dropped pages and calls them clean, the segment is left
/// and the records are written again into a new one, which begins where the old one is good to.
pub(super) struct Writer<T> {
    pub(super) queue: Arc<Queue<T>>,
    pub(super) counters: Arc<Counters>,
    /// `None`: nothing is written, records are passed on as they are.
    pub(super) files: Option<Arc<LogFiles>>,
    pub(super) durable: Position,
    pub(super) schema: u32,
    pub(super) sink: Sink<T>,
    pub(super) active: Option<Active>,
}

/// The segment that is being written.
pub(super) struct Active {
    file: Box<dyn DiskFile>,
    header: SegmentHeader,
    /// What is synced: the header at least.
    bytes: u64,
}

impl<T> Writer<T> {
    pub(super) fn run(mut self) {
        let mut pace = Instant::now();
        while let Some(group) = self.queue.take(pace) {
            // One sender that waits for each acknowledgement gains nothing by waiting longer.
            pace = Instant::now() + if group.len() > 1 { PACE } else { Duration::ZERO };
            if !self.write_until_done(&group) {
                tracing::error!(
                    records = group.len(),
                    "the log is closed while it cannot be written: the last records were not acknowledged"
                );
                return;
            }
            if let Some(last) = group.last() {
                self.durable = last.position;
            }
            (self.sink)(group);
        }
    }

    /// Gives up only when the log is closed.
    fn write_until_done(&mut self, group: &[Entry<T>]) -> bool {
        let Some(files) = self.files.clone() else { return true };
        loop {
            let Err(error) = self.write(&files, group) else { return true };
            if self.counters.failed(&error) {
                tracing::error!(%error, dir = %files.dir.display(), "the log cannot be written: acknowledgements wait until it can");
            }
            if self.queue.wait_until(Instant::now() + RETRY) {
                return false;
            }
        }
    }

    fn write(&mut self, files: &LogFiles, group: &[Entry<T>]) -> io::Result<()> {
        let Some(first) = group.first().map(|entry| entry.position) else { return Ok(()) };
        let bytes: usize = group.iter().map(Entry::bytes).sum();
        let mut active = self.segment_for(files, first, bytes as u64)?;
        let heads = self.encode_heads(group, active.header.salt);
        if let Err(error) = active.file.write_all(&mut interleave(&heads, group)) {
            if active.file.truncate(active.bytes).is_ok() {
                self.active = Some(active);
            }
            return Err(error);
        }
        let started = Instant::now();
        if let Err(error) = active.file.sync() {
            // Recovery ignores what a later segment holds again: this only spares it the reading.
            let _ = active.file.truncate(active.bytes);
            return Err(error);
        }
        active.bytes += bytes as u64;
        files.note(SegmentFile { first: active.header.first, bytes: active.bytes, damage: None });
        self.counters.synced(group.len(), bytes as u64, started.elapsed());
        self.active = Some(active);
        Ok(())
    }

    /// The segment that takes the next bytes. It is the writer's again only when it was written without an error.
    fn segment_for(&mut self, files: &LogFiles, first: Position, bytes: u64) -> io::Result<Active> {
        match self.active.take() {
            Some(active) if active.bytes + bytes <= SEGMENT_BYTES_MAX => Ok(active),
            _ => Active::create(files, first),
        }
    }

    /// What precedes each payload.
    fn encode_heads(&self, group: &[Entry<T>], salt: u32) -> Vec<Vec<u8>> {
        let encode = |entry: &Entry<T>| {
            let mut head = Vec::with_capacity(RECORD_HEADER_BYTES + entry.record.reporter.len());
            let place = Place { position: entry.position, durable: self.durable, schema: self.schema };
            segment::encode_record(&entry.record, place, salt, &mut head);
            head
        };
        group.iter().map(encode).collect()
    }
}

impl Active {
    /// Makes a segment. Its name and header are durable before a record is written: so a damaged header is never one that a
    /// crash has torn, but for a segment without records.
    fn create(files: &LogFiles, first: Position) -> io::Result<Self> {
        let header = SegmentHeader::new(&files.engine, first);
        let mut file = files.disk.create(&files.path(first))?;
        file.write_all(&mut [IoSlice::new(&header.encode())])?;
        file.sync()?;
        files.disk.sync_dir(&files.dir)?;
        Ok(Self { file, header, bytes: HEADER_BYTES as u64 })
    }
}

fn interleave<'a, T>(heads: &'a [Vec<u8>], group: &'a [Entry<T>]) -> Vec<IoSlice<'a>> {
    heads
        .iter()
        .zip(group)
        .flat_map(|(head, entry)| [IoSlice::new(head), IoSlice::new(&entry.record.payload)])
        .collect()
}
