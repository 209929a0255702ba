//! Checks the segments of the log: that they follow each other and the sealed files, and that each batch can be taken in.

use std::path::{Path, PathBuf};
use std::{fs, io};

use tollgate_store::{Fault, Position, SegmentRecord, Step, read_segment};

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

/// Reads all segments.
pub(super) fn check(dir: &Path, limits: &DecodeLimits) -> Result<(LogCheck, Vec<Fault>), DataError> {
    let mut log = LogCheck::default();
    let mut faults = Vec::new();
    let segments = segments(dir).map_err(|source| DataError::Io { action: "list", path: dir.to_owned(), source })?;
    let mut last = None;
    for (index, path) in segments.iter().enumerate() {
        let is_newest = index + 1 == segments.len();
        let fault = |problem: String| Fault { name: path.display().to_string(), problem };
        log.segments += 1;
        match fs::read(path) {
            Ok(bytes) => {
                log.bytes += bytes.len() as u64;
                let mut check = Check { log: &mut log, last: &mut last, limits };
                faults.extend(check.segment(&bytes, is_newest).into_iter().map(fault));
            }
            Err(error) => faults.push(fault(format!("cannot be read: {error}"))),
        }
    }
    Ok((log, faults))
}

struct Check<'a> {
    log: &'a mut LogCheck,
    /// The last record that was found.
    last: &'a mut Option<Position>,
    limits: &'a DecodeLimits,
}

impl Check<'_> {
    fn segment(&mut self, bytes: &[u8], is_newest: bool) -> Vec<String> {
        let records = match read_segment(bytes) {
            Ok((_, records)) => records,
            Err(error) => return vec![error.to_string()],
        };
        let mut problems = Vec::new();
        for step in records {
            match step {
                Step::Record(record) => problems.extend(self.record(&record)),
                Step::Damage(range) if is_newest && range.end == bytes.len() => {
                    self.log.torn_bytes += range.len() as u64
                }
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
