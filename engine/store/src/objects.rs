//! Where sealed files are: a local directory, or an S3-compatible store below a prefix.
//!
//! A file is there whole or not at all. Locally: temporary name, sync, rename, sync of the directory (the local store of
//! `object_store` does not sync). Remotely: one put, or a multipart upload that counts when it is completed.
//! All calls block; they belong on threads that may.

mod chunks;
#[cfg(test)]
pub(crate) mod failing;
mod place;
mod reader;
mod s3;
mod upload;

use std::fs::File;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use tokio::runtime::Handle;

use crate::disk::Disk;
use crate::parquet::Rows;
use crate::sealed::directory;
use crate::{SealedFile, StoreError};

use self::reader::RemoteFile;

pub(crate) use self::chunks::Chunks;
pub(crate) use self::place::Place;
pub use self::s3::S3;
pub(crate) use self::upload::{UNFINISHED, Upload};

/// An S3-compatible store, or any other that `object_store` speaks to. It retries by itself.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// Its bucket. Bucket, endpoint and prefix are written down: files are not looked for anywhere else later.
    pub bucket: String,
    /// Where it is, if not at Amazon.
    pub endpoint: Option<String>,
    /// What all keys begin with: `telemetry/prod`.
    pub prefix: Path,
}

impl Remote {
    pub(crate) fn place(&self) -> Place {
        let Self { store: _, bucket, endpoint, prefix } = self;
        let endpoint = endpoint.as_ref().map(|endpoint| endpoint.trim_end_matches('/').to_owned());
        Place::Remote { bucket: bucket.clone(), prefix: prefix.to_string(), endpoint }
    }
}

/// Where sealed files are.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    disk: Arc<dyn Disk>,
    root: Root,
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
}

#[derive(Debug, Clone)]
enum Root {
    Local(PathBuf),
    Remote(Place),
}

impl Objects {
    /// Files below a local directory.
    pub(crate) fn local(disk: Arc<dyn Disk>, root: &FilePath, runtime: Handle) -> Result<Self, StoreError> {
        disk.make_dir(root).map_err(StoreError::io("make directory", root))?;
        let store = LocalFileSystem::new_with_prefix(root);
        let store = store.map_err(|source| failed("open", &Path::default(), &root.display().to_string(), source))?;
        Ok(Self { disk, root: Root::Local(root.to_owned()), store: Arc::new(store), runtime })
    }

    /// Objects below a prefix.
    pub(crate) fn remote(disk: Arc<dyn Disk>, remote: Remote, runtime: Handle) -> Self {
        let root = Root::Remote(remote.place());
        Self { disk, root, store: Arc::new(PrefixStore::new(remote.store, remote.prefix)), runtime }
    }

    /// What is written down of where the files are.
    pub(crate) fn place(&self) -> Place {
        match &self.root {
            Root::Local(_) => Place::Local,
            Root::Remote(place) => place.clone(),
        }
    }

    /// For reading: keys are those of [`SealedFile::key`].
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Begins a file. It is there after [`Upload::finish`].
    pub(crate) fn create(&self, key: &Path) -> Result<Upload, StoreError> {
        match self.path(key) {
            Some(path) => Upload::local(Arc::clone(&self.disk), path),
            None => Ok(Upload::remote(self.clone(), key.clone())),
        }
    }

    /// Removes a file; that it is not there is no error.
    pub(crate) fn remove(&self, key: &Path) -> Result<(), StoreError> {
        let removed = match self.path(key) {
            Some(path) => return ignore_absent(self.disk.remove(&path)).map_err(StoreError::io("remove", &path)),
            None => self.runtime.block_on(self.store.delete(key)),
        };
        match removed {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(source) => Err(self.failed("remove", key, source)),
        }
    }

    /// Keys and sizes of everything below a directory.
    pub(crate) fn list(&self, directory: &str) -> Result<Vec<(Path, u64)>, StoreError> {
        let prefix = Path::from(directory);
        if let Root::Local(root) = &self.root {
            let mut listed = Vec::new();
            self.walk(root, directory, &mut listed)?;
            return Ok(listed);
        }
        let listing = self.store.list(Some(&prefix)).map_ok(|meta| (meta.location, meta.size)).try_collect();
        self.runtime.block_on(listing).map_err(|source| self.failed("list", &prefix, source))
    }

    /// Whether a file is certainly not there: its directory can be listed, and it is not in it.
    pub(crate) fn is_absent(&self, key: &Path) -> Result<bool, StoreError> {
        Ok(!self.list(directory(key))?.iter().any(|(present, _)| present == key))
    }

    /// Local path of a key; `None` in a remote store.
    pub(crate) fn path(&self, key: &Path) -> Option<PathBuf> {
        match &self.root {
            Root::Local(root) => Some(root.join(key.as_ref())),
            Root::Remote(_) => None,
        }
    }

    /// The bytes of a file, in pieces of a megabyte.
    pub(crate) fn chunks(&self, file: &SealedFile) -> Chunks {
        Chunks::new(self.clone(), file.key.clone(), file.bytes)
    }

    /// What the footer says.
    pub(crate) fn metadata(&self, file: &SealedFile) -> Result<Arc<ParquetMetaData>, StoreError> {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let read = match self.path(&file.key) {
            Some(path) => {
                let file = File::open(&path).map_err(StoreError::io("open", &path))?;
                ArrowReaderMetadata::load(&file, options)
            }
            None => {
                let mut reader = self.reader(file);
                self.runtime.block_on(ArrowReaderMetadata::load_async(&mut reader, options))
            }
        };
        read.map(|metadata| Arc::clone(metadata.metadata())).map_err(|source| unreadable(file, source))
    }

    /// The rows of a file in batches. Of a remote file, one row group is in memory at a time.
    pub(crate) fn rows(&self, file: &SealedFile, batch_rows: usize) -> Result<Rows, StoreError> {
        let wrong = |source| unreadable(file, source);
        if let Some(path) = self.path(&file.key) {
            let local = File::open(&path).map_err(StoreError::io("open", &path))?;
            let builder = ParquetRecordBatchReaderBuilder::try_new(local).map_err(wrong)?;
            let reader = builder.with_batch_size(batch_rows).build().map_err(wrong)?;
            return Ok(Box::new(reader.map(|batch| batch.map_err(ParquetError::from))));
        }
        let builder = self.runtime.block_on(ParquetRecordBatchStreamBuilder::new(self.reader(file))).map_err(wrong)?;
        let mut stream = builder.with_batch_size(batch_rows).build().map_err(wrong)?;
        let runtime = self.runtime.clone();
        Ok(Box::new(std::iter::from_fn(move || runtime.block_on(stream.next()))))
    }

    fn reader(&self, file: &SealedFile) -> RemoteFile {
        RemoteFile { store: self.store(), key: file.key.clone(), bytes: file.bytes }
    }

    fn walk(&self, root: &FilePath, directory: &str, listed: &mut Vec<(Path, u64)>) -> Result<(), StoreError> {
        let path = root.join(directory);
        for entry in self.disk.list(&path).map_err(StoreError::io("list", &path))? {
            let below = format!("{directory}/{}", entry.name);
            if entry.is_dir {
                self.walk(root, &below, listed)?;
            } else if let Ok(key) = Path::parse(&below) {
                listed.push((key, entry.bytes));
            }
        }
        Ok(())
    }

    fn failed(&self, action: &'static str, key: &Path, source: object_store::Error) -> StoreError {
        let place = match &self.root {
            Root::Local(root) => root.display().to_string(),
            Root::Remote(place) => place.to_string(),
        };
        failed(action, key, &place, source)
    }
}

pub(crate) fn unreadable(file: &SealedFile, source: ParquetError) -> StoreError {
    StoreError::Parquet { action: "read", key: file.key.to_string(), source }
}

fn failed(action: &'static str, key: &Path, place: &str, source: object_store::Error) -> StoreError {
    StoreError::Object { action, key: key.to_string(), place: place.to_owned(), source: Box::new(source) }
}

fn ignore_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
