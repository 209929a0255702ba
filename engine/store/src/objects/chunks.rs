//! Reads a file from its beginning to its end.

use std::fs::File;
use std::io::{self, Read};

use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::Objects;

const CHUNK_BYTES: u64 = 1 << 20;

/// Reads a file from its beginning to its end, a megabyte at a time.
pub(crate) struct Chunks {
    objects: Objects,
    key: Path,
    bytes: u64,
    offset: u64,
    local: Option<File>,
}

impl Chunks {
    pub(super) fn new(objects: Objects, key: Path, bytes: u64) -> Self {
        Self { objects, key, bytes, offset: 0, local: None }
    }

    /// The next piece; empty at the end.
    pub(crate) fn next(&mut self) -> io::Result<Vec<u8>> {
        match self.objects.path(&self.key) {
            Some(path) => {
                let file = match self.local.take() {
                    Some(file) => file,
                    None => File::open(path)?,
                };
                let mut chunk = Vec::with_capacity(CHUNK_BYTES as usize);
                (&file).take(CHUNK_BYTES).read_to_end(&mut chunk)?;
                self.local = Some(file);
                Ok(chunk)
            }
            None => {
                let end = self.bytes.min(self.offset + CHUNK_BYTES);
                if self.offset >= end {
                    return Ok(Vec::new());
                }
                let range = self.objects.store.get_range(&self.key, self.offset..end);
                self.offset = end;
                Ok(self.objects.runtime.block_on(range)?.into())
            }
        }
    }
}
