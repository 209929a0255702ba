//! A data directory on which no engine runs: what is in it is checked, compacted or copied. Checked it is beside a running engine, too.

mod log;

use tollgate_store::{
    Export, Exported, Fault, Inspection, Opened, Progress, Sealed, SealedOptions, SealedStatus, StoreError,
    StoreOptions,
};

pub use self::log::LogCheck;
use crate::clock::WallTime;
use crate::config::EngineConfig;
use crate::data::{DataDir, DataError};
use crate::engine::EngineError;
use crate::kept::{self, Kept};

/// What a check found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Whether an engine uses the directory.
    pub is_running: bool,
    /// Sealed files.
    pub files: Progress,
    /// Files that the engine replaced or removed before they were checked; what came in their place was.
    pub vanished: usize,
    /// The log.
    pub log: LogCheck,
    /// Everything that is not as it was written; nothing when all is well.
    pub faults: Vec<Fault>,
}

/// What is sealed in a data directory.
///
/// # Errors
/// There is no such directory, an engine uses it, or what it says about itself is damaged.
pub async fn status(config: &EngineConfig) -> Result<SealedStatus, EngineError> {
    let dir = lock(config)?;
    let (sealed, _) = open_sealed(config, &dir).await?;
    Ok(sealed.status(WallTime::now().us))
}

/// Reads every record of the log and every sealed file, and says what is not as it was written, or where the two do not agree.
/// Changes nothing, and may be done beside a running engine. `progress` is called after each file.
///
/// # Errors
/// There is no such directory, or what it says about itself is damaged.
pub async fn verify(
    config: &EngineConfig,
    progress: impl FnMut(Progress) + Send + 'static,
) -> Result<Checked, EngineError> {
    // Nobody else begins anything while this is held.
    let (lock, other) = match self::lock(config) {
        Ok(dir) => (Some(dir), None),
        Err(EngineError::Data(error @ DataError::InUse { .. })) => {
            // An engine that has no id yet has no rows.
            (None, Some(DataDir::id_of(&config.data)?.ok_or(error)?))
        }
        Err(error) => return Err(error),
    };
    let id = other.as_deref().or(lock.as_ref().map(DataDir::id)).unwrap_or_default();
    let StoreOptions { dir, engine, disk, remote, compaction, .. } = kept::options(config, &config.data, id)?;
    let options = SealedOptions { dir, engine, disk, remote, compaction };
    // The files first, as of one record; then the log, which begins at that one or before, and goes on beyond it.
    let inspection = Inspection::open(options, kept::specs(&config.retention)).await?;
    let (path, limits, sealed) = (config.data.join("log"), config.admission, inspection.clone());
    let checking = tokio::task::spawn_blocking(move || log::check(&path, &limits, sealed.sealed()));
    let (log, mut faults) = checking.await.map_err(|_| StoreError::Stopping)??;
    let verified = inspection.verify(progress).await?;
    faults.extend(verified.faults);
    if let Some(first) = log.first.filter(|first| *first > verified.sealed_through.next()) {
        let problem = format!(
            "begins with record {first}, files end with {}: those between are missing",
            verified.sealed_through
        );
        faults.push(Fault { name: "log".to_owned(), problem });
    }
    Ok(Checked { is_running: lock.is_none(), files: verified.progress, vanished: verified.vanished, log, faults })
}

/// Names of the store's tables, in the order of their indexes.
#[must_use]
pub fn tables(config: &EngineConfig) -> Vec<&'static str> {
    kept::specs(&config.retention).iter().map(|table| table.name).collect()
}

fn lock(config: &EngineConfig) -> Result<DataDir, EngineError> {
    if !config.data.is_dir() {
        return Err(DataError::Absent { path: config.data.clone() }.into());
    }
    Ok(DataDir::open(&config.data)?)
}

async fn open_sealed(config: &EngineConfig, dir: &DataDir) -> Result<(Sealed, Opened), EngineError> {
    let StoreOptions { dir, engine, disk, remote, compaction, .. } = kept::options(config, dir.path(), dir.id())?;
    let options = SealedOptions { dir, engine, disk, remote, compaction };
    Ok(Sealed::open(options, kept::specs(&config.retention)).await?)
}

/// A data directory whose files are worked on, locked for as long as this lives.
pub struct Offline {
    kept: Kept,
    _dir: DataDir,
}

impl Offline {
    /// Takes in what is there, as an engine does when it starts.
    ///
    /// # Errors
    /// As [`status`].
    pub async fn open(config: &EngineConfig) -> Result<Self, EngineError> {
        let dir = lock(config)?;
        let kept = Kept::open(config, &dir).await?;
        Ok(Self { kept, _dir: dir })
    }

    /// Seals what is in the log and rewrites small files until none is left to rewrite. `progress` gets the bytes that are
    /// left.
    ///
    /// # Errors
    /// Files cannot be read or written. What was done stays.
    pub async fn compact(&self, mut progress: impl FnMut(u64)) -> Result<(), EngineError> {
        self.seal().await?;
        loop {
            let tables = self.kept.store.status().sealed.tables;
            progress(tables.iter().map(|table| table.compaction_debt_bytes).sum());
            if !self.kept.store.look_after_files().await? {
                return Ok(());
            }
        }
    }

    /// Copies rows of a table, those of the log included.
    ///
    /// # Errors
    /// Files cannot be read or written, or are there already.
    pub async fn export(
        &self,
        export: Export,
        progress: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Exported, EngineError> {
        self.seal().await?;
        Ok(self.kept.store.sealed().export(export, progress).await?)
    }

    /// Lets go of the directory.
    pub async fn close(self) {
        self.kept.close().await;
    }

    async fn seal(&self) -> Result<(), EngineError> {
        let store = std::sync::Arc::clone(&self.kept.store);
        let sealed = self.kept.handle().spawn(async move { store.seal_now().await }).await;
        Ok(sealed.map_err(|_| StoreError::Stopping)??)
    }
}
