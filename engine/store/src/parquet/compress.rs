//! Compresses the parts of a page, each by a code of its own.

use std::io;

use bytes::Bytes;
use parquet::basic::ZstdLevel;
use parquet::errors::{ParquetError, Result};
use zstd::stream::raw::{Encoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::compress_bound;

/// What a block of zstd costs besides its bytes, with what may be left of the one before.
const BLOCK_BYTES: usize = 32;

/// Makes one frame of zstd of each page.
pub(super) struct Compressor {
    encoder: Encoder<'static>,
    /// The last page's frame; kept for its memory.
    frame: Vec<u8>,
}

impl Compressor {
    pub(super) fn new() -> Result<Self> {
        let encoder = Encoder::new(ZstdLevel::default().compression_level()).map_err(failed)?;
        Ok(Self { encoder, frame: Vec::new() })
    }

    /// Where one part of a page ends and the next begins, a block ends: what zstd counts to make its code is then that part
    /// alone. `ends` are those of all parts but the last.
    pub(super) fn compress(&mut self, page: &[u8], ends: &[usize]) -> Result<Bytes> {
        self.make_frame(page, ends).map_err(failed)?;
        // As long as it is: pages are kept until their row group is written.
        Ok(Bytes::copy_from_slice(&self.frame))
    }

    fn make_frame(&mut self, page: &[u8], ends: &[usize]) -> io::Result<()> {
        self.encoder.reinit()?;
        self.encoder.set_pledged_src_size(Some(page.len() as u64))?;
        self.frame.clear();
        self.frame.reserve(compress_bound(page.len()) + (ends.len() + 1) * BLOCK_BYTES);
        let mut output = OutBuffer::around(&mut self.frame);
        let mut from = 0;
        for end in ends.iter().copied().chain([page.len()]) {
            let mut input = InBuffer::around(page.get(from..end).unwrap_or_default());
            while input.pos() < input.src.len() {
                self.encoder.run(&mut input, &mut output)?;
            }
            expect_none(self.encoder.flush(&mut output)?)?;
            from = end;
        }
        expect_none(self.encoder.finish(&mut output, true)?)
    }
}

/// The output had room for all.
fn expect_none(left: usize) -> io::Result<()> {
    if left == 0 { Ok(()) } else { Err(io::Error::other("a page has no room for its compressed bytes")) }
}

fn failed(error: io::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_one_frame() {
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..20_000).map(|_| random.u8(..)).collect();
        let nibbles: Vec<u8> = (0..20_000).map(|_| random.u8(..16)).collect();
        let page = [noise, nibbles, vec![0; 120_000]].concat();
        let mut compressor = Compressor::new().unwrap();
        let parts = compressor.compress(&page, &[20_000, 40_000]).unwrap();
        assert_eq!(zstd::bulk::decompress(&parts, page.len()).unwrap(), page);
        let whole = compressor.compress(&page, &[]).unwrap();
        assert_eq!(zstd::bulk::decompress(&whole, page.len()).unwrap(), page);
        assert!(parts.len() < 30_500 && parts.len() < whole.len() * 9 / 10, "{} and {}", parts.len(), whole.len());
        for short in [&[][..], &[1]] {
            let compressed = compressor.compress(short, &[0]).unwrap();
            assert_eq!(zstd::bulk::decompress(&compressed, 10).unwrap(), short);
        }
    }
}
