//! What the log holds when the engine starts: reads all segments, in order, one at a time.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Record;
use super::files::{LogFiles, SegmentFile};
use super::reader::{Step, read_segment};
use super::segment::{self, SegmentHeader, SegmentRecord};
use super::writer::SEGMENT_BYTES_MAX;
use crate::aside::{Aside, move_aside};
use crate::error::StoreError;
use crate::view::Position;

/// More bytes than any segment has.
const FILE_BYTES_MAX: u64 = 2 * SEGMENT_BYTES_MAX;
/// No segment holds more records: a record has 64 bytes at least.
const SEGMENT_RECORDS_MAX: u64 = SEGMENT_BYTES_MAX / 64;

/// What was found in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogRecovery {
    /// Segments that were read.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Records that were not sealed yet, and were handed out again.
    pub records: u64,
    /// Their rows.
    pub rows: u64,
    /// Bytes at the end of the last segment that a crash had torn. Nothing of them was acknowledged.
    pub torn_bytes: u64,
    /// Segments of which acknowledged records cannot be read; their other records are served.
    pub damaged: Vec<DamagedSegment>,
    /// Files that are no segments of this engine, or of a later version.
    pub aside: Vec<Aside>,
    /// How long it took.
    pub took: Duration,
}

/// A segment of which acknowledged records cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedSegment {
    /// Its name.
    pub name: String,
    /// The first and last record that is missing.
    pub missing: (Position, Position),
}

/// Gets a record that is in the log and not sealed.
pub(crate) type EachRecord<'a> = &'a mut dyn FnMut(Position, Record) -> Result<(), StoreError>;

/// Reads the log. Hands out all whole records after `sealed`, in order, each once; returns the next free position.
///
/// A segment ends where the next one begins: what it holds beyond was written again there. Memory: one segment at a time.
pub(super) fn recover(
    files: &LogFiles,
    sealed: Position,
    each: EachRecord<'_>,
) -> Result<(Position, LogRecovery), StoreError> {
    let started = Instant::now();
    files.disk.make_dir(&files.dir).map_err(StoreError::io("make directory", &files.dir))?;
    let mut recovery = Recovering { files, sealed, each, next: Position(1), found: LogRecovery::default() };
    let firsts = recovery.list()?;
    for (index, first) in firsts.iter().enumerate() {
        recovery.segment(*first, firsts.get(index + 1).copied())?;
    }
    let next = recovery.next.max(sealed.next());
    let mut found = recovery.found;
    found.took = started.elapsed();
    Ok((next, found))
}

struct Recovering<'a> {
    files: &'a LogFiles,
    sealed: Position,
    each: EachRecord<'a>,
    /// The position expected next.
    next: Position,
    found: LogRecovery,
}

impl Recovering<'_> {
    /// First positions of all segments, rising. What is no segment of this engine is set aside.
    fn list(&mut self) -> Result<Vec<Position>, StoreError> {
        let files = self.files;
        let entries = files.disk.list(&files.dir).map_err(StoreError::io("list", &files.dir))?;
        let mut firsts = Vec::new();
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            match segment::parse_name(&files.engine, &entry.name) {
                Some(first) if entry.bytes <= FILE_BYTES_MAX => firsts.push(first),
                Some(_) => self.set_aside(&entry.name, "is larger than any segment of the log")?,
                None => self.set_aside(&entry.name, "has no name of a log segment of this engine")?,
            }
        }
        firsts.sort_unstable();
        Ok(firsts)
    }

    fn segment(&mut self, first: Position, following: Option<Position>) -> Result<(), StoreError> {
        let name = segment::file_name(&self.files.engine, first);
        let bytes = self.read(first)?;
        self.found.segments += 1;
        self.found.bytes += bytes.len() as u64;
        let header = SegmentHeader::new(&self.files.engine, first);
        let reader = match read_segment(&bytes) {
            Ok((header, reader)) if header.first == first && header.engine == self.files.engine => reader,
            Err(_) if following.is_none() && header.is_torn(&bytes) => return self.remove_torn(first, bytes.len()),
            Ok(_) => return self.unreadable(first, following, &name, "is another segment than its name says"),
            Err(error) => return self.unreadable(first, following, &name, &error.to_string()),
        };
        self.pass_over(&name, first);
        let damaged = self.found.damaged.len();
        let mut good_bytes = segment::HEADER_BYTES;
        for step in reader {
            let Step::Record(record) = step else { continue };
            if following.is_some_and(|following| following <= record.position) || self.is_torn(&record, following) {
                break;
            }
            if record.position >= self.next {
                good_bytes = record.bytes.end;
                self.record(&name, &bytes, &record)?;
            }
        }
        match following {
            Some(following) => self.pass_over(&name, following),
            None => self.settle_tail(first, good_bytes, bytes.len())?,
        }
        let is_damaged = damaged < self.found.damaged.len();
        let damage = is_damaged.then(|| "holds acknowledged records that cannot be read".to_owned());
        self.files.note(SegmentFile { first, bytes: bytes.len() as u64, damage });
        Ok(())
    }

    /// Whether records before this one are missing because a crash has torn them: when this one was written, they were not
    /// acknowledged yet.
    fn is_torn(&self, record: &SegmentRecord<'_>, following: Option<Position>) -> bool {
        following.is_none() && self.next < record.position && record.durable < self.next
    }

    fn record(&mut self, name: &str, bytes: &Bytes, record: &SegmentRecord<'_>) -> Result<(), StoreError> {
        if self.next < record.position {
            self.missing(name, Position(record.position.0 - 1));
        }
        self.next = record.position.next();
        if record.position <= self.sealed {
            return Ok(());
        }
        self.found.records += 1;
        self.found.rows += u64::from(record.rows);
        (self.each)(record.position, owned(bytes, record))
    }

    /// Notes that the records from the expected one on cannot be read, unless they are sealed.
    fn missing(&mut self, name: &str, through: Position) {
        let from = self.next.max(self.sealed.next());
        if from <= through {
            tracing::error!(segment = name, %from, %through, "acknowledged records cannot be read: the rest is served");
            self.found.damaged.push(DamagedSegment { name: name.to_owned(), missing: (from, through) });
        }
    }

    /// Cuts off what a crash has torn, and syncs the rest: a killed process may have left it to the kernel alone.
    fn settle_tail(&mut self, first: Position, good_bytes: usize, bytes: usize) -> Result<(), StoreError> {
        let path = self.files.path(first);
        let settle = || {
            let mut file = self.files.disk.append(&path)?;
            if good_bytes < bytes {
                file.truncate(good_bytes as u64)?;
            }
            file.sync()?;
            self.files.disk.sync_dir(&self.files.dir)
        };
        settle().map_err(StoreError::io("settle the end of", &path))?;
        self.torn(&path, bytes - good_bytes);
        Ok(())
    }

    fn remove_torn(&mut self, first: Position, bytes: usize) -> Result<(), StoreError> {
        let path = self.files.path(first);
        let remove = || {
            self.files.disk.remove(&path)?;
            self.files.disk.sync_dir(&self.files.dir)
        };
        remove().map_err(StoreError::io("remove", &path))?;
        self.torn(&path, bytes);
        Ok(())
    }

    fn torn(&mut self, path: &Path, bytes: usize) {
        if bytes > 0 {
            tracing::warn!(segment = %path.display(), bytes, "the end of the log was torn and is cut off: nothing of it was acknowledged");
            self.found.torn_bytes += bytes as u64;
        }
    }

    /// Sets a segment aside whose records cannot be told. Its positions are not given out again: where no segment follows
    /// that says where they end, as many are passed over as a segment may have.
    fn unreadable(
        &mut self,
        first: Position,
        following: Option<Position>,
        name: &str,
        reason: &str,
    ) -> Result<(), StoreError> {
        self.set_aside(name, reason)?;
        match following {
            Some(following) => self.pass_over(name, following),
            None => self.next = self.next.max(Position(first.0 + SEGMENT_RECORDS_MAX)),
        }
        Ok(())
    }

    /// Goes on at a position; what was expected before it cannot be read.
    fn pass_over(&mut self, name: &str, to: Position) {
        if self.next < to {
            self.missing(name, Position(to.0 - 1));
            self.next = to;
        }
    }

    fn set_aside(&mut self, name: &str, reason: &str) -> Result<(), StoreError> {
        let path = self.files.dir.join(name);
        let moved_to = move_aside(self.files.disk.as_ref(), &path, &self.files.aside, reason)?;
        let (name, reason) = (name.to_owned(), reason.to_owned());
        self.found.aside.push(Aside { name, reason, rows: 0, moved_to });
        Ok(())
    }

    fn read(&self, first: Position) -> Result<Bytes, StoreError> {
        let path = self.files.path(first);
        let read = || {
            let mut bytes = Vec::new();
            self.files.disk.read(&path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(Bytes::from(bytes))
        };
        read().map_err(StoreError::io("read", &path))
    }
}

fn owned(bytes: &Bytes, record: &SegmentRecord<'_>) -> Record {
    Record {
        reporter: record.reporter.into(),
        epoch: record.epoch,
        sequence: record.sequence,
        received_us: record.received_us,
        rows: record.rows,
        payload: bytes.slice_ref(record.payload),
    }
}
