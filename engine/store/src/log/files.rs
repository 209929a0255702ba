//! The segments in the log's directory: made, listed, and removed once all of their records are sealed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::segment;
use crate::aside::move_aside;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::view::Position;

/// A segment on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentFile {
    pub(super) first: Position,
    pub(super) bytes: u64,
    /// What is wrong with it, if anything: then it is set aside instead of being removed.
    pub(super) damage: Option<String>,
}

/// The log's directory.
#[derive(Debug)]
pub(super) struct LogFiles {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) aside: PathBuf,
    pub(super) engine: String,
    /// In the order of their positions. The last one may be written.
    segments: Mutex<Vec<SegmentFile>>,
}

impl LogFiles {
    pub(super) fn new(disk: Arc<dyn Disk>, data: &Path, engine: &str) -> Self {
        let (dir, aside) = (data.join("log"), data.join("aside"));
        Self { disk, dir, aside, engine: engine.to_owned(), segments: Mutex::default() }
    }

    pub(super) fn path(&self, first: Position) -> PathBuf {
        self.dir.join(segment::file_name(&self.engine, first))
    }

    /// Notes a segment, or how large it has become.
    pub(super) fn note(&self, segment: SegmentFile) {
        let mut segments = self.segments.lock();
        match segments.iter_mut().find(|known| known.first == segment.first) {
            Some(known) => *known = segment,
            None => segments.push(segment),
        }
    }

    /// Removes the segments all of whose records are sealed; a damaged one is set aside instead. What cannot be removed keeps
    /// none of the others, and is tried again the next time.
    ///
    /// # Errors
    /// The first failure; the others are logged.
    pub(super) fn remove_through(&self, sealed: Position) -> Result<(), StoreError> {
        let (mut is_changed, mut failure) = (false, None);
        for segment in self.removable(sealed) {
            match self.remove(&segment) {
                Ok(()) => {
                    self.segments.lock().retain(|known| known.first != segment.first);
                    is_changed = true;
                }
                Err(error) if failure.is_none() => failure = Some(error),
                Err(error) => tracing::warn!(%error, "another segment of the log could not be removed"),
            }
        }
        if is_changed {
            self.disk.sync_dir(&self.dir).map_err(StoreError::io("sync", &self.dir))?;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Number and bytes of the segments.
    pub(super) fn totals(&self) -> (usize, u64) {
        let segments = self.segments.lock();
        (segments.len(), segments.iter().map(|segment| segment.bytes).sum())
    }

    /// A segment ends where the next one begins; the last one is never removed.
    fn removable(&self, sealed: Position) -> Vec<SegmentFile> {
        let segments = self.segments.lock();
        let pairs = segments.iter().zip(segments.iter().skip(1));
        pairs.take_while(|(_, next)| next.first <= sealed.next()).map(|(segment, _)| segment.clone()).collect()
    }

    /// A segment that is not there counts as removed.
    fn remove(&self, segment: &SegmentFile) -> Result<(), StoreError> {
        let path = self.path(segment.first);
        if let Some(damage) = &segment.damage {
            return move_aside(self.disk.as_ref(), &path, &self.aside, damage).map(drop);
        }
        match self.disk.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(StoreError::io("remove", &path)),
        }
    }
}
