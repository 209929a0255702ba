//! The format of a log segment, version 1. All numbers are little-endian.
//!
//! ```text
//! segment  magic "TOLLGLOG" | version u32 | salt u32 | first position u64 | engine length u32 | engine [64] | crc32c u32
//! record   marker "TGRC" | crc32c u32 | length u32 | reporter length u16 | 0 u16 | position u64 | durable u64 | epoch u64
//!          | sequence u64 | received_us i64 | rows u32 | schema u32 | reporter | payload
//! ```
//!
//! A record's `length` is that of reporter and payload. Its checksum covers everything after itself and begins with the
//! segment's salt, so that a reporter cannot hide a record of its own making in a payload. `durable` is the last position
//! that was known to be synced when the record was written: it tells damage from what a crash has torn.

use std::ops::Range;

use super::Record;
use crate::view::Position;

pub(crate) const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 96;
pub(super) const RECORD_HEADER_BYTES: usize = 64;
/// Most bytes of reporter and payload of one record.
pub(crate) const RECORD_BYTES_MAX: usize = 32 << 20;
/// Longest name of a reporter.
pub(crate) const REPORTER_BYTES_MAX: usize = 4_096;
const ENGINE_BYTES_MAX: usize = 64;
/// No log reaches it: at a million records each second it would last for hundreds of thousands of years.
const POSITION_MAX: u64 = u64::MAX >> 1;

const MAGIC: [u8; 8] = *b"TOLLGLOG";
pub(super) const MARKER: [u8; 4] = *b"TGRC";

/// What the first bytes of a segment say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The engine that wrote it.
    pub engine: String,
    /// Position of its first record.
    pub first: Position,
    pub(super) salt: u32,
}

/// Why a file is no segment that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// It ends within its header.
    #[error("has no complete header")]
    Short,
    /// It does not begin as a segment does.
    #[error("is not a log segment")]
    Foreign,
    /// A later version of the engine wrote it.
    #[error("has version {version}, and this engine reads versions up to {VERSION}")]
    Newer {
        /// Its version.
        version: u32,
    },
    /// The header contradicts its checksum.
    #[error("has a damaged header")]
    Damaged,
}

impl SegmentHeader {
    pub(super) fn new(engine: &str, first: Position) -> Self {
        Self { engine: engine.to_owned(), first, salt: fastrand::u32(..) }
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let engine = self.engine.as_bytes();
        let engine = engine.get(..ENGINE_BYTES_MAX).unwrap_or(engine);
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&(engine.len() as u32).to_le_bytes());
        bytes[28..28 + engine.len()].copy_from_slice(engine);
        let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Whether bytes are what a crash leaves of this header, which is synced before the first record is written: some of it,
    /// with holes of zeros.
    pub(super) fn is_torn(&self, bytes: &[u8]) -> bool {
        // The salt and the checksum over it may be anything.
        let known = |at: &usize| !(12..16).contains(at) && *at < HEADER_BYTES - 4;
        let expected = self.encode();
        let is_left = |(at, byte): (usize, &u8)| *byte == 0 || !known(&at) || expected.get(at) == Some(byte);
        bytes.len() <= HEADER_BYTES && bytes.iter().enumerate().all(is_left)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, SegmentError> {
        let start = &bytes[..bytes.len().min(HEADER_BYTES)];
        if !MAGIC.starts_with(&start[..start.len().min(8)]) && !start.starts_with(&MAGIC) {
            return Err(SegmentError::Foreign);
        }
        let Some(version) = u32_at(start, 8) else { return Err(SegmentError::Short) };
        if version > VERSION {
            return Err(SegmentError::Newer { version });
        }
        let Some((covered, crc)) = start.split_at_checked(HEADER_BYTES - 4) else { return Err(SegmentError::Short) };
        if u32_at(crc, 0) != Some(crc32c::crc32c(covered)) {
            return Err(SegmentError::Damaged);
        }
        let parse = || {
            let engine = covered.get(28..28 + u32_at(covered, 24)? as usize)?;
            let first = u64_at(covered, 16).filter(|first| *first <= POSITION_MAX)?;
            let engine = std::str::from_utf8(engine).ok()?.to_owned();
            Some(Self { engine, first: Position(first), salt: u32_at(covered, 12)? })
        };
        parse().ok_or(SegmentError::Damaged)
    }
}

/// Appends a record without its payload, which has to follow.
pub(super) fn encode_record(record: &Record, place: Place, salt: u32, into: &mut Vec<u8>) {
    let start = into.len();
    let reporter = record.reporter.as_bytes();
    into.extend(MARKER);
    into.extend([0; 4]);
    into.extend(((reporter.len() + record.payload.len()) as u32).to_le_bytes());
    into.extend((reporter.len() as u32).to_le_bytes());
    for number in [place.position.0, place.durable.0, record.epoch, record.sequence] {
        into.extend(number.to_le_bytes());
    }
    into.extend(record.received_us.to_le_bytes());
    into.extend(record.rows.to_le_bytes());
    into.extend(place.schema.to_le_bytes());
    into.extend(reporter);
    let crc = crc32c::crc32c_append(salt, &into[start + 8..]);
    let crc = crc32c::crc32c_append(crc, &record.payload);
    into[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Where a record is, and what was known when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: Position,
    pub(super) durable: Position,
    pub(super) schema: u32,
}

/// A record as it is in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRecord<'a> {
    /// Its number.
    pub position: Position,
    /// The last position that was synced when it was written.
    pub durable: Position,
    /// Who reported.
    pub reporter: &'a str,
    /// The reporter's run.
    pub epoch: u64,
    /// The batch's number within the run.
    pub sequence: u64,
    /// When it arrived, in microseconds since the epoch.
    pub received_us: i64,
    /// Rows of the payload.
    pub rows: u32,
    /// Fingerprint of the vocabulary that the engine had.
    pub schema: u32,
    /// The bytes as received.
    pub payload: &'a [u8],
    /// Where it is in the segment.
    pub bytes: Range<usize>,
}

/// Reads the record that begins at `offset`. `None` when there is no whole one.
pub(super) fn decode_record(segment: &[u8], offset: usize, salt: u32) -> Option<SegmentRecord<'_>> {
    let header = segment.get(offset..)?.get(..RECORD_HEADER_BYTES)?;
    let length = u32_at(header, 8)? as usize;
    let reporter_bytes = u32_at(header, 12)? as usize;
    let is_sane = header.starts_with(&MARKER)
        && length <= RECORD_BYTES_MAX + REPORTER_BYTES_MAX
        && reporter_bytes <= length.min(REPORTER_BYTES_MAX);
    if !is_sane {
        return None;
    }
    let start = offset + RECORD_HEADER_BYTES;
    let body = segment.get(start..start + length)?;
    if crc32c::crc32c_append(salt, segment.get(offset + 8..start + length)?) != u32_at(header, 4)? {
        return None;
    }
    let (reporter, payload) = body.split_at_checked(reporter_bytes)?;
    Some(SegmentRecord {
        position: u64_at(header, 16).filter(|position| *position <= POSITION_MAX).map(Position)?,
        durable: Position(u64_at(header, 24)?),
        reporter: std::str::from_utf8(reporter).ok()?,
        epoch: u64_at(header, 32)?,
        sequence: u64_at(header, 40)?,
        received_us: u64_at(header, 48)? as i64,
        rows: u32_at(header, 56)?,
        schema: u32_at(header, 60)?,
        payload,
        bytes: offset..start + length,
    })
}

/// Bytes that the record at `offset` claims to have, for bounding the work of searching.
pub(super) fn claimed_bytes(segment: &[u8], offset: usize) -> usize {
    segment.get(offset..).and_then(|rest| u32_at(rest, 8)).map_or(0, |length| length as usize)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Name of the segment that begins at a position.
pub(super) fn file_name(engine: &str, first: Position) -> String {
    format!("{engine}-{:016x}.log", first.0)
}

/// The position in a segment's name; `None` when it is not one of this engine's names.
pub(super) fn parse_name(engine: &str, name: &str) -> Option<Position> {
    let number = name.strip_prefix(engine)?.strip_prefix('-')?.strip_suffix(".log")?;
    let is_hex = number.len() == 16 && number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(number, 16).ok().filter(|first| is_hex && *first <= POSITION_MAX).map(Position)
}
