//! Reads sealed files that are on this machine.
//!
//! What queries ask for is mostly in the page cache, and a read takes less time than handing it to another thread and waiting for that,
//! which is how `object_store` reads local files. Queries have threads of their own, so that a slow disk delays nobody else.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use bytes::Bytes;
use datafusion::physical_plan::metrics::Count;
use parquet::errors::{ParquetError, Result};

/// One file, which is opened when something is read.
pub(super) struct LocalFile {
    path: PathBuf,
    bytes: u64,
    file: Option<File>,
    /// Bytes that were read.
    read: Count,
}

impl LocalFile {
    /// A file of so many bytes.
    pub(super) fn new(path: PathBuf, bytes: u64, read: Count) -> Self {
        Self { path, bytes, file: None, read }
    }

    pub(super) fn read_all(&mut self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        ranges.iter().map(|range| self.read(range)).collect()
    }

    pub(super) fn read(&mut self, range: &Range<u64>) -> Result<Bytes> {
        let bytes = self.read_at(range).map_err(|error| self.failed(error))?;
        self.read.add(bytes.len());
        Ok(bytes)
    }

    fn read_at(&mut self, range: &Range<u64>) -> io::Result<Bytes> {
        // What a damaged footer claims is not believed.
        if range.end > self.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let file = match self.file.take() {
            Some(file) => self.file.insert(file),
            None => self.file.insert(File::open(&self.path)?),
        };
        let bytes = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
        let mut bytes = vec![0; bytes];
        file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes.into())
    }

    /// The error that `object_store` gives, so that nobody has to know which of the two has read.
    fn failed(&self, error: io::Error) -> ParquetError {
        let (path, source) = (self.path.display().to_string(), Box::new(error));
        ParquetError::External(Box::new(match source.kind() {
            io::ErrorKind::NotFound => object_store::Error::NotFound { path, source },
            _ => object_store::Error::Generic { store: "LocalFileSystem", source },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(error: &ParquetError) -> &object_store::Error {
        let ParquetError::External(cause) = error else { panic!("{error}") };
        cause.downcast_ref().unwrap()
    }

    #[test]
    fn ranges_are_read_and_what_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        std::fs::write(&path, b"0123456789").unwrap();
        let mut file = LocalFile::new(path, 10, Count::new());
        assert_eq!(file.read_all(&[2..4, 9..10]).unwrap(), [&b"23"[..], b"9"]);
        assert_eq!(file.read.value(), 3);
        for beyond in [8..11, 0..u64::MAX] {
            let short = file.read(&beyond).unwrap_err();
            assert!(matches!(cause(&short), object_store::Error::Generic { .. }), "{short}");
        }

        let mut absent = LocalFile::new(dir.path().join("b.parquet"), 10, Count::new());
        let error = absent.read(&(0..1)).unwrap_err();
        assert!(matches!(cause(&error), object_store::Error::NotFound { path, .. } if path.ends_with("b.parquet")));
    }
}
