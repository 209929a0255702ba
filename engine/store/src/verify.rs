//! Checks that what is there is what was written.

mod inspection;

use std::path::Path;
use std::sync::Arc;

use parquet::file::metadata::FileMetaData;

use crate::manifest::Catalog;
use crate::objects::Objects;
use crate::parquet::{FORMAT_VERSION, adapted, format_version};
use crate::sealed::State;
use crate::{Position, Sealed, SealedFile, StoreError, TableSpec};

pub use self::inspection::Inspection;

/// What a check has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files that are done.
    pub files: usize,
    /// Files in all.
    pub files_all: usize,
    /// Rows that were read.
    pub rows: u64,
    /// Bytes of the files that are done.
    pub bytes: u64,
    /// Bytes of all files.
    pub bytes_all: u64,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file: a key of the object store, or a path.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// What was checked.
    pub progress: Progress,
    /// The last record whose rows are in files. The log has to begin at the next one or before.
    pub sealed_through: Position,
    /// What is wrong; nothing when all is well.
    pub faults: Vec<Fault>,
    /// Files that an engine replaced or removed before they were checked.
    pub vanished: usize,
}

const BATCH_ROWS: usize = 65_536;

impl Sealed {
    /// Reads every listed file whole: its checksum, its footer, and each of its pages; and compares the counts with those
    /// of the manifest. Calls `progress` after each file.
    ///
    /// # Errors
    /// [`StoreError::Stopping`] only: what cannot be read is a [`Fault`].
    pub async fn verify(&self, mut progress: impl FnMut(Progress) + Send + 'static) -> Result<Verified, StoreError> {
        self.blocking(move |state| Ok(state.verify(&mut progress))).await
    }
}

impl State {
    fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Verified {
        let files = self.files.load_full();
        let all: Vec<&Arc<SealedFile>> = files.iter().flatten().collect();
        let bytes_all = all.iter().map(|file| file.bytes).sum();
        let mut verified = Verified {
            progress: Progress { files_all: all.len(), bytes_all, ..Progress::default() },
            ..Verified::default()
        };
        {
            let manifest = self.manifest.lock();
            verified.faults = disagreements(manifest.catalog(), &manifest.path());
            verified.sealed_through = manifest.catalog().sealed_through;
        }
        for file in all {
            verified.note(file, self.checker().check(file));
            progress(verified.progress);
        }
        let aside = self.aside.lock();
        let faults = aside.iter().map(|aside| Fault { name: aside.name.clone(), problem: aside.reason.clone() });
        verified.faults.extend(faults);
        verified
    }

    pub(crate) fn checker(&self) -> Checker<'_> {
        Checker { objects: &self.objects, tables: &self.tables }
    }
}

impl Verified {
    fn note(&mut self, file: &SealedFile, checked: Result<u64, String>) {
        match checked {
            Ok(rows) => self.progress.rows += rows,
            Err(problem) => self.faults.push(Fault { name: file.key.to_string(), problem }),
        }
        self.progress.files += 1;
        self.progress.bytes += file.bytes;
    }
}

/// Why a file cannot be served, as far as its footer says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unserved {
    #[error("{0}")]
    Unread(String),
    #[error("{0}")]
    Newer(String),
    #[error("{0}")]
    Foreign(String),
}

/// Whether a file with this footer is one of ours, of a version that is known.
fn is_readable(metadata: &FileMetaData) -> Result<(), Unserved> {
    match format_version(metadata) {
        Some(version) if version <= FORMAT_VERSION => Ok(()),
        Some(version) => {
            Err(Unserved::Newer(format!("it has version {version}, this program knows up to {FORMAT_VERSION}")))
        }
        None => Err(Unserved::Foreign("no engine wrote it".to_owned())),
    }
}

/// Says why a file with this footer must not be served to a query, if so.
///
/// # Errors
/// It was written by a newer version, or by no engine at all.
pub fn check_footer(metadata: &FileMetaData) -> Result<(), String> {
    is_readable(metadata).map_err(|unserved| unserved.to_string())
}

/// Compares files with what was written down about them.
pub(crate) struct Checker<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) tables: &'a [TableSpec],
}

impl Checker<'_> {
    /// What is wrong with the bytes of a file; `None` when they are what was written.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn damage(&self, file: &SealedFile) -> std::io::Result<Option<String>> {
        let mut chunks = self.objects.chunks(file);
        let (mut crc32c, mut bytes) = (0, 0);
        loop {
            let chunk = chunks.next()?;
            if chunk.is_empty() {
                break;
            }
            crc32c = crc32c::crc32c_append(crc32c, &chunk);
            bytes += chunk.len() as u64;
        }
        Ok(if bytes != file.bytes {
            Some(format!("it has {bytes} bytes, {} were written", file.bytes))
        } else if crc32c != file.crc32c {
            Some("its checksum is not that of what was written".to_owned())
        } else {
            None
        })
    }

    /// Whether this version reads such files.
    pub(crate) fn label(&self, file: &SealedFile) -> Result<(), Unserved> {
        let metadata = self.objects.metadata(file).map_err(|error| Unserved::Unread(error.to_string()))?;
        is_readable(metadata.file_metadata())
    }

    /// Reads one file whole and returns its rows.
    pub(crate) fn check(&self, file: &SealedFile) -> Result<u64, String> {
        match self.damage(file) {
            Ok(None) => {}
            Ok(Some(damage)) => return Err(damage),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err("it is not there".to_owned()),
            Err(error) => return Err(format!("it cannot be read: {error}")),
        }
        self.label(file).map_err(|unserved| unserved.to_string())?;
        let schema = &self.tables[file.table].schema;
        let mut rows = 0;
        for batch in self.objects.rows(file, BATCH_ROWS).map_err(|error| error.to_string())? {
            let batch = batch.map_err(|error| format!("a page cannot be read: {error}"))?;
            rows += batch.num_rows() as u64;
            adapted(batch, schema).map_err(|error| error.to_string())?;
        }
        if rows == file.rows { Ok(rows) } else { Err(format!("it has {rows} rows, {} were written", file.rows)) }
    }
}

/// Where a manifest does not agree with itself.
fn disagreements(catalog: &Catalog, manifest: &Path) -> Vec<Fault> {
    let name = manifest.display().to_string();
    let mut faults = Vec::new();
    for (table, ledger) in &catalog.ledger {
        let rows: u64 = catalog.files.values().filter(|file| file.table == *table).map(|file| file.rows).sum();
        let expected = i128::from(ledger.sealed) - i128::from(ledger.merged) - i128::from(ledger.expired);
        if i128::from(rows) != expected {
            let problem = format!("`{table}` has {rows} rows in files, {expected} were sealed and kept");
            faults.push(Fault { name: name.clone(), problem });
        }
    }
    faults
}
