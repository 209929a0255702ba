//! Writes one file, which is there when it is finished and not before.

use std::io::{self, IoSlice, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload};

use super::Objects;
use crate::StoreError;
use crate::disk::{Disk, DiskFile};

/// Parts of a multipart upload, and the most that is put in one piece. In tests so little that some files have parts.
const PART_BYTES: usize = if cfg!(test) { 2 << 10 } else { 16 << 20 };
/// Local writes are collected up to this.
const BUFFER_BYTES: usize = 1 << 20;
/// What the name of an unfinished local file ends with.
pub(crate) const UNFINISHED: &str = ".tmp";

/// Writes one file, which is there when it is finished and not before.
///
/// Holds one part of 16 MiB (one MiB locally). Dropped before it is finished, it removes what it wrote.
pub(crate) struct Upload {
    buffer: Vec<u8>,
    target: Target,
    is_finished: bool,
}

enum Target {
    Local { disk: Arc<dyn Disk>, file: Box<dyn DiskFile>, unfinished: PathBuf, path: PathBuf },
    Remote { objects: Objects, key: Path, parts: Option<Box<dyn MultipartUpload>> },
}

impl Upload {
    pub(super) fn local(disk: Arc<dyn Disk>, path: PathBuf) -> Result<Self, StoreError> {
        let dir = path.parent().unwrap_or(FilePath::new("."));
        disk.make_dir(dir).map_err(StoreError::io("make directory", dir))?;
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        let file = disk.create(&unfinished).map_err(StoreError::io("create", &unfinished))?;
        Ok(Self::new(Target::Local { disk, file, unfinished, path }))
    }

    pub(super) fn remote(objects: Objects, key: Path) -> Self {
        Self::new(Target::Remote { objects, key, parts: None })
    }

    fn new(target: Target) -> Self {
        Self { buffer: Vec::new(), target, is_finished: false }
    }

    /// Makes the file be there, durably.
    pub(crate) fn finish(mut self) -> Result<(), StoreError> {
        let rest = std::mem::take(&mut self.buffer);
        match &mut self.target {
            Target::Local { disk, file, unfinished, path } => {
                let dir = path.parent().unwrap_or(FilePath::new("."));
                let mut publish = || {
                    file.write_all(&mut [IoSlice::new(&rest)])?;
                    file.sync()?;
                    disk.rename(unfinished, path)?;
                    disk.sync_dir(dir)
                };
                publish().map_err(StoreError::io("write", path))?;
            }
            Target::Remote { objects, key, parts } => {
                let put = async {
                    match parts {
                        None => objects.store.put(key, PutPayload::from(rest)).await,
                        Some(parts) => {
                            parts.put_part(PutPayload::from(rest)).await?;
                            parts.complete().await
                        }
                    }
                };
                objects.runtime.block_on(put).map_err(|source| objects.failed("write", key, source))?;
            }
        }
        self.is_finished = true;
        Ok(())
    }

    fn is_full(&self) -> bool {
        let full = if matches!(self.target, Target::Local { .. }) { BUFFER_BYTES } else { PART_BYTES };
        self.buffer.len() >= full
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.buffer);
        match &mut self.target {
            Target::Local { file, .. } => {
                file.write_all(&mut [IoSlice::new(&part)])?;
                self.buffer = part;
                self.buffer.clear();
            }
            Target::Remote { objects, key, parts } => {
                let put = async {
                    let upload = match parts {
                        Some(upload) => upload,
                        None => parts.insert(objects.store.put_multipart(key).await?),
                    };
                    upload.put_part(PutPayload::from(part)).await
                };
                objects.runtime.block_on(put)?;
            }
        }
        Ok(())
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.is_full() {
            self.pass_on()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        match &mut self.target {
            // What cannot be removed now is removed as a leftover at the next start.
            Target::Local { disk, unfinished, path, .. } => {
                let _ = disk.remove(unfinished);
                let _ = disk.remove(path);
            }
            Target::Remote { objects, parts: Some(parts), .. } => {
                let _ = objects.runtime.block_on(parts.abort());
            }
            Target::Remote { .. } => {}
        }
    }
}
