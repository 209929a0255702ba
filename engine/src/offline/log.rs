//! Checks the segments of the log: that they follow each other and the sealed files, that each batch can be taken in, and is in the log or
//! in files, but not in both. The engine may be writing and removing segments meanwhile.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use tollgate_store::{Fault, Marks, Position, SegmentRecord, Step, read_segment};

use crate::admission::{self, Arrival, DecodeLimits};
use crate::data::DataError;

/// What is in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCheck {
    /// Segments.
    pub segments: usize,
    /// The first record.
    pub first: Option<Position>,
    /// Whole records.
    pub records: u64,
    /// Their rows.
    pub rows: u64,
    /// Bytes of the segments.
    pub bytes: u64,
    /// Bytes at the very end that are no whole record: a crash leaves them, and nobody was told that they are kept.
    pub torn_bytes: u64,
}

/// Reads all segments. `sealed` is the last record whose rows are in files, and the marks as of that record, from before.
pub(super) fn check(
    dir: &Path,
    limits: &DecodeLimits,
    sealed: (Position, &Marks),
) -> Result<(LogCheck, Vec<Fault>), DataError> {
    let mut check = Check { log: LogCheck::default(), last: None, runs: HashMap::new(), sealed, limits };
    let mut faults = Vec::new();
    let segments = segments(dir).map_err(|source| DataError::Io { action: "list", path: dir.to_owned(), source })?;
    for (index, path) in segments.iter().enumerate() {
        let following = segments.get(index + 1).and_then(|path| first_of(path));
        let fault = |problem: String| Fault { name: path.display().to_string(), problem };
        match fs::read(path) {
            Ok(bytes) => {
                check.log.segments += 1;
                check.log.bytes += bytes.len() as u64;
                faults.extend(check.segment(&bytes, following).into_iter().map(fault));
            }
            // The engine has sealed what is in it, and all before it: what matters begins after it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => (check.log.first, check.last) = (None, None),
            Err(error) => faults.push(fault(format!("cannot be read: {error}"))),
        }
    }
    Ok((check.log, faults))
}

/// Runs of reporters that are followed; beyond these, batches of further ones are not compared.
const RUNS_MAX: usize = 100_000;

struct Check<'a> {
    log: LogCheck,
    /// The last record that was found.
    last: Option<Position>,
    /// The last batch of each reporter's run.
    runs: HashMap<(Box<str>, u64), u64>,
    sealed: (Position, &'a Marks),
    limits: &'a DecodeLimits,
}

impl Check<'_> {
    /// `following` is where the next segment begins; the newest one has none.
    fn segment(&mut self, bytes: &[u8], following: Option<Position>) -> Vec<String> {
        let records = match read_segment(bytes) {
            Ok((_, records)) => records,
            Err(error) => return vec![error.to_string()],
        };
        let mut problems = Vec::new();
        for step in records {
            match step {
                // The rest was written once more, after a sync that failed.
                Step::Record(record) if following.is_some_and(|following| following <= record.position) => break,
                Step::Record(record) => problems.extend(self.record(&record)),
                Step::Damage(range) if range.end == bytes.len() && following.is_none() => {
                    self.log.torn_bytes += range.len() as u64
                }
                // Nothing is missing, as the next segment goes on where this one ends.
                Step::Damage(range) if range.end == bytes.len() && following == self.last.map(Position::next) => {}
                Step::Damage(range) => problems.push(format!("bytes {} to {} are damaged", range.start, range.end)),
            }
        }
        problems
    }

    fn record(&mut self, record: &SegmentRecord<'_>) -> Option<String> {
        self.log.records += 1;
        self.log.rows += u64::from(record.rows);
        self.log.first.get_or_insert(record.position);
        let before = self.last.replace(record.position.max(self.last.unwrap_or_default()));
        if let Some(before) = before.filter(|before| record.position > before.next()) {
            return Some(format!("record {} follows {before}: those between are missing", record.position));
        }
        if let Some(problem) = self.repetition(record).or_else(|| self.disagreement(record)) {
            return Some(problem);
        }
        if record.rows == 0 {
            return None;
        }
        let arrival = Arrival::at(record.reporter, record.received_us);
        let problem = match admission::admit(record.payload, self.limits, arrival) {
            Ok(rows) if rows.num_rows() as u64 == u64::from(record.rows) => return None,
            Ok(rows) => format!("has {} rows, {} were written", rows.num_rows(), record.rows),
            Err(refusal) => format!("cannot be decoded: {refusal}"),
        };
        Some(format!("record {} {problem}", record.position))
    }
}

impl Check<'_> {
    /// A run's batches are kept in the order of their numbers, each once.
    fn repetition(&mut self, record: &SegmentRecord<'_>) -> Option<String> {
        let SegmentRecord { position, reporter, epoch, sequence, .. } = *record;
        let run = (Box::from(reporter), epoch);
        if self.runs.len() >= RUNS_MAX && !self.runs.contains_key(&run) {
            return None;
        }
        let last = self.runs.insert(run, sequence).unwrap_or_default();
        let problem = || {
            format!("record {position} is batch {sequence} of `{reporter}` epoch {epoch}, and comes after batch {last}")
        };
        (sequence <= last).then(problem)
    }

    /// The manifest says up to which batch of each run files go: a batch that is sealed by position is so by number, too.
    fn disagreement(&self, record: &SegmentRecord<'_>) -> Option<String> {
        let SegmentRecord { position, reporter, epoch, sequence, .. } = *record;
        let (through, marks) = self.sealed;
        let mark = marks.sequence(reporter, epoch);
        let is_sealed = position <= through;
        // Of a run that was long ago the manifest has forgotten the mark.
        if mark == 0 || is_sealed == (sequence <= mark) {
            return None;
        }
        let place = if is_sealed { "in files" } else { "in no file" };
        Some(format!(
            "record {position} is {place} by its position, but `{reporter}` epoch {epoch} is sealed through batch {mark}, and it is batch {sequence}"
        ))
    }
}

/// The position that a segment begins with, which its name ends with.
fn first_of(path: &Path) -> Option<Position> {
    let first = path.file_stem()?.to_str()?.rsplit('-').next()?;
    u64::from_str_radix(first, 16).ok().map(Position)
}

/// In the order of their positions, which their names end with.
fn segments(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    Ok(paths)
}
