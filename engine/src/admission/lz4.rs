//! Decompresses LZ4 frames into exactly the bytes that were claimed.

use std::io::Read as _;

use arrow::buffer::Buffer;
use lz4_flex::block;
use lz4_flex::frame::FrameDecoder;

use super::Refusal;

/// LZ4 cannot shrink anything further than this; a greater claim is a lie that is not worth an allocation.
const RATIO_MAX: usize = 255;
/// How frames begin that hold independent blocks and nothing else, with the most bytes of a block. Arrow writes such ones.
/// <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>
const PLAIN_FRAMES: [([u8; 7], usize); 4] = [
    ([0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82], 64 << 10),
    ([0x04, 0x22, 0x4d, 0x18, 0x60, 0x50, 0xfb], 256 << 10),
    ([0x04, 0x22, 0x4d, 0x18, 0x60, 0x60, 0x51], 1 << 20),
    ([0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73], 4 << 20),
];
/// In the length of a block: it is not compressed.
const IS_STORED: u32 = 1 << 31;

/// Decompresses into exactly the claimed length: what is shorter or longer is refused, and nothing grows.
pub(super) fn decompress(compressed: &[u8], claimed: usize) -> Result<Buffer, Refusal> {
    if claimed > compressed.len().saturating_mul(RATIO_MAX) {
        return Err(Refusal::malformed("a buffer claims more than LZ4 can hold"));
    }
    let mut bytes = vec![0; claimed];
    if blocks(compressed, &mut bytes).is_some() || frame(compressed, &mut bytes).is_some() {
        return Ok(Buffer::from_vec(bytes));
    }
    Err(Refusal::malformed("a buffer is not the LZ4 frame that it claims to be"))
}

/// The blocks of a plain frame, each to where it belongs: through a decoder of frames all bytes would be copied once more. `None`
/// for any other frame, and for a broken one: the decoder has the last word.
fn blocks(frame: &[u8], mut into: &mut [u8]) -> Option<()> {
    let (head, mut rest) = frame.split_first_chunk()?;
    let (_, block_bytes_max) = PLAIN_FRAMES.iter().find(|(plain, _)| plain == head)?;
    loop {
        let (length, blocks) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            return (blocks.is_empty() && into.is_empty()).then_some(());
        }
        let (block, blocks) = blocks.split_at_checked((length & !IS_STORED) as usize)?;
        let room = into.len().min(*block_bytes_max);
        let decoded = if length & IS_STORED == 0 {
            block::decompress_into(block, into.get_mut(..room)?).ok()?
        } else {
            into.get_mut(..room)?.get_mut(..block.len())?.copy_from_slice(block);
            block.len()
        };
        into = into.get_mut(decoded..)?;
        rest = blocks;
    }
}

/// Any frame.
fn frame(frame: &[u8], into: &mut [u8]) -> Option<()> {
    let mut decoder = FrameDecoder::new(frame);
    decoder.read_exact(into).ok()?;
    matches!(decoder.read(&mut [0]), Ok(0)).then_some(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use proptest::prelude::*;

    use super::*;

    fn compressed(bytes: &[u8], info: FrameInfo) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn decompresses_what_was_claimed_and_nothing_else() {
        let bytes = vec![7; 100_000];
        let frame = compressed(&bytes, FrameInfo::new());
        assert_eq!(decompress(&frame, bytes.len()).unwrap().as_slice(), bytes);
        for claim in [1, 99_999, 100_001, 10_000_000, usize::MAX] {
            assert!(decompress(&frame, claim).is_err(), "a claim of {claim} bytes");
        }
    }

    #[test]
    fn what_arrow_writes_takes_the_short_way() {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| (at / 7) as u8).collect();
            let frame = compressed(&bytes, FrameInfo::new().block_size(size));
            let mut into = vec![0; bytes.len()];
            assert_eq!(blocks(&frame, &mut into), Some(()));
            assert_eq!(into, bytes);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_decoder_of_frames(
            bytes in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..3_000),
            times in prop_oneof![Just(1_usize), Just(60)],
            (is_linked, checksums) in any::<(bool, bool)>(),
            change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cut in prop::option::of(any::<prop::sample::Index>()),
            more in -1_isize..=1,
        ) {
            let bytes = bytes.repeat(times);
            let mode = if is_linked { BlockMode::Linked } else { BlockMode::Independent };
            let info = FrameInfo::new().block_mode(mode).block_checksums(checksums).content_checksum(checksums);
            let mut bytes_sent = compressed(&bytes, info);
            if let Some((at, value)) = change {
                let at = at.index(bytes_sent.len());
                bytes_sent[at] = value;
            }
            if let Some(cut) = cut {
                bytes_sent.truncate(cut.index(bytes_sent.len()));
            }
            let claimed = bytes.len().saturating_add_signed(more);
            let mut expected = vec![0; claimed];
            let expected = frame(&bytes_sent, &mut expected).map(|()| expected);
            let mut found = vec![0; claimed];
            if blocks(&bytes_sent, &mut found).is_some() {
                prop_assert_eq!(Some(found), expected.clone());
            }
            if let Ok(decompressed) = decompress(&bytes_sent, claimed) {
                prop_assert_eq!(Some(decompressed.as_slice()), expected.as_deref());
            }
        }
    }
}
