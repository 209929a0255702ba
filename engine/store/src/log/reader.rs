//! Reads a segment, record by record, and finds the next whole record after damage.

use std::ops::Range;

use super::segment::{self, HEADER_BYTES, MARKER, SegmentError, SegmentHeader, SegmentRecord};

/// How often the bytes of a segment may be gone over while searching for whole records between damaged ones. A segment
/// that claims more is not worth more: what is left of it counts as damaged.
const SEARCH_PASSES_MAX: usize = 4;

/// Reads the bytes of a segment. Takes no memory of its own, and time in proportion to the bytes, whatever they are.
///
/// # Errors
/// The header is not that of a segment which this version can read.
pub fn read_segment(bytes: &[u8]) -> Result<(SegmentHeader, SegmentReader<'_>), SegmentError> {
    let header = SegmentHeader::decode(bytes)?;
    let budget = bytes.len().saturating_mul(SEARCH_PASSES_MAX);
    let reader = SegmentReader { bytes, salt: header.salt, offset: HEADER_BYTES, budget };
    Ok((header, reader))
}

/// The records of a segment, in their order, and the damage between them.
#[derive(Debug, Clone)]
pub struct SegmentReader<'a> {
    bytes: &'a [u8],
    salt: u32,
    offset: usize,
    budget: usize,
}

/// One step through a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole record.
    Record(SegmentRecord<'a>),
    /// Bytes that are no whole record.
    Damage(Range<usize>),
}

impl<'a> Iterator for SegmentReader<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.bytes.len() {
            return None;
        }
        if let Some(record) = segment::decode_record(self.bytes, self.offset, self.salt) {
            self.offset = record.bytes.end;
            return Some(Step::Record(record));
        }
        let start = self.offset;
        self.offset = self.search(start + 1);
        Some(Step::Damage(start..self.offset))
    }
}

impl SegmentReader<'_> {
    /// Where the next whole record begins, at `from` or later; the end when there is none.
    fn search(&mut self, mut from: usize) -> usize {
        let end = self.bytes.len();
        while let Some(at) = self.bytes.get(from..).and_then(find_marker).map(|at| from + at) {
            let cost = segment::claimed_bytes(self.bytes, at).min(end - at);
            let Some(budget) = self.budget.checked_sub(cost) else { return end };
            self.budget = budget;
            if segment::decode_record(self.bytes, at, self.salt).is_some() {
                return at;
            }
            from = at + 1;
        }
        end
    }
}

fn find_marker(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MARKER.len()).position(|window| window == MARKER)
}
