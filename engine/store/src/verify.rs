//! Checks that what is there is what was written.

use std::sync::Arc;

use crate::parquet::{FORMAT_VERSION, adapted, format_version};
use crate::sealed::State;
use crate::{Position, Sealed, SealedFile, StoreError};

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
            faults: self.disagreements(),
            ..Verified::default()
        };
        for file in all {
            let name = || file.key.to_string();
            match self.check(file) {
                Ok(rows) => verified.progress.rows += rows,
                Err(problem) => verified.faults.push(Fault { name: name(), problem }),
            }
            verified.progress.files += 1;
            verified.progress.bytes += file.bytes;
            progress(verified.progress);
        }
        let aside = self.aside.lock();
        verified
            .faults
            .extend(aside.iter().map(|aside| Fault { name: aside.name.clone(), problem: aside.reason.clone() }));
        verified.sealed_through = self.manifest.lock().catalog().sealed_through;
        verified
    }

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

    /// Reads one file whole and returns its rows.
    pub(crate) fn check(&self, file: &SealedFile) -> Result<u64, String> {
        let damage = self.damage(file).map_err(|error| format!("it cannot be read: {error}"))?;
        if let Some(damage) = damage {
            return Err(damage);
        }
        let metadata = self.objects.metadata(file).map_err(|error| error.to_string())?;
        match format_version(metadata.file_metadata()) {
            Some(version) if version <= FORMAT_VERSION => {}
            Some(version) => {
                return Err(format!("it has version {version}, this program knows up to {FORMAT_VERSION}"));
            }
            None => return Err("no engine wrote it".to_owned()),
        }
        let schema = &self.tables[file.table].schema;
        let mut rows = 0;
        for batch in self.objects.rows(file, BATCH_ROWS).map_err(|error| error.to_string())? {
            let batch = batch.map_err(|error| format!("a page cannot be read: {error}"))?;
            rows += batch.num_rows() as u64;
            adapted(batch, schema).map_err(|error| error.to_string())?;
        }
        if rows == file.rows { Ok(rows) } else { Err(format!("it has {rows} rows, {} were written", file.rows)) }
    }

    /// Where the manifest does not agree with itself.
    fn disagreements(&self) -> Vec<Fault> {
        let manifest = self.manifest.lock();
        let (catalog, name) = (manifest.catalog(), manifest.path().display().to_string());
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
}
