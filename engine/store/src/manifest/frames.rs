//! The bytes of a manifest: a header, and checksummed frames.

use std::path::Path;

use crate::StoreError;

const MAGIC: &[u8; 4] = b"TGMF";
/// Version 2 says where the sealed files are. An engine that does not know it would look for them elsewhere.
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 8;
const FRAME_HEADER_BYTES: usize = 12;

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frames<'a> {
    pub(super) payloads: Vec<&'a [u8]>,
    /// Length of the file without what is torn at its end.
    pub(super) whole_bytes: u64,
}

/// Why a file cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// No manifest, or one of another version.
    Foreign(String),
    /// Something is missing before the last entry.
    Damaged(String),
}

impl Problem {
    pub(super) fn at(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Foreign(problem) => StoreError::Foreign { path, problem },
            Self::Damaged(problem) => StoreError::Damaged { path, problem },
        }
    }
}

/// A file with one frame.
pub(super) fn file(payload: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &VERSION.to_le_bytes(), &frame(payload)].concat()
}

/// One frame.
pub(super) fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let sums = [length, crc32c::crc32c(payload).to_le_bytes()].concat();
    [&sums[..], &crc32c::crc32c(&sums).to_le_bytes(), payload].concat()
}

/// The frames of a file. What is at the end and no whole frame is torn, unless a whole one follows: then it is damage.
pub(super) fn parse(bytes: &[u8]) -> Result<Frames<'_>, Problem> {
    let magic = bytes.get(..MAGIC.len());
    let version = bytes.get(MAGIC.len()..).and_then(u32_at);
    match (magic, version) {
        (Some(magic), Some(1..=VERSION)) if magic == MAGIC => {}
        (Some(magic), Some(version)) if magic == MAGIC => {
            return Err(Problem::Foreign(format!("has version {version}, this program knows up to {VERSION}")));
        }
        _ => return Err(Problem::Foreign("is not a manifest of tollgate".to_owned())),
    }
    let mut frames = Frames { payloads: Vec::new(), whole_bytes: HEADER_BYTES as u64 };
    let mut rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
    while !rest.is_empty() {
        let Some((payload, after)) = first(rest) else { break };
        frames.payloads.push(payload);
        frames.whole_bytes += (rest.len() - after.len()) as u64;
        rest = after;
    }
    if (1..rest.len()).any(|offset| rest.get(offset..).and_then(first).is_some()) {
        return Err(Problem::Damaged(format!("the entry at byte {} is not what was written", frames.whole_bytes)));
    }
    Ok(frames)
}

/// The whole frame at the beginning of `bytes`, and what follows it.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let sums = bytes.get(..8)?;
    let (header, rest) = bytes.split_at_checked(FRAME_HEADER_BYTES)?;
    if crc32c::crc32c(sums) != u32_at(header.get(8..)?)? {
        return None;
    }
    let (payload, after) = rest.split_at_checked(u32_at(sums)? as usize)?;
    (crc32c::crc32c(payload) == u32_at(sums.get(4..)?)?).then_some((payload, after))
}

fn u32_at(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        payloads.iter().for_each(|payload| bytes.extend(frame(payload)));
        bytes
    }

    proptest! {
        #[test]
        fn a_cut_file_has_every_whole_frame(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..8), cut in any::<prop::sample::Index>(),
        ) {
            let bytes = whole(&payloads);
            let cut = HEADER_BYTES + cut.index(bytes.len() - HEADER_BYTES + 1);
            let frames = parse(&bytes[..cut]).unwrap();
            let count = (0..=payloads.len()).rev().find(|count| whole(&payloads[..*count]).len() <= cut).unwrap();
            prop_assert_eq!(frames.payloads, payloads[..count].iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(frames.whole_bytes as usize, whole(&payloads[..count]).len());
        }

        #[test]
        fn a_flipped_bit_is_never_read(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 2..6), at in any::<prop::sample::Index>(), bit in 0..8,
        ) {
            let mut bytes = whole(&payloads);
            let at = HEADER_BYTES + at.index(bytes.len() - HEADER_BYTES);
            bytes[at] ^= 1_u8 << bit;
            let last = whole(&payloads[..payloads.len() - 1]).len();
            match parse(&bytes) {
                Err(problem) => prop_assert!(at < last && matches!(problem, Problem::Damaged(_))),
                Ok(frames) => prop_assert!(at >= last && frames.whole_bytes as usize == last),
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = parse(&[&MAGIC[..], &VERSION.to_le_bytes(), &bytes].concat());
        }
    }

    #[test]
    fn other_files_and_versions_are_named_for_what_they_are() {
        for version in [0, 3] {
            let other = [&MAGIC[..], &u32::to_le_bytes(version)].concat();
            let problem = format!("has version {version}, this program knows up to 2");
            assert_eq!(parse(&other), Err(Problem::Foreign(problem)));
        }
        for bytes in [&b""[..], b"TGM", b"PAR1 and more"] {
            assert_eq!(parse(bytes), Err(Problem::Foreign("is not a manifest of tollgate".to_owned())));
        }
    }
}
