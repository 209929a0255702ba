//! A data directory on which no engine runs: what is in it is checked, compacted or copied.

mod log;

use tollgate_store::{
    Export, Exported, Fault, Opened, Progress, Sealed, SealedOptions, SealedStatus, StoreError, StoreOptions,
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
    /// Sealed files.
    pub files: Progress,
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

/// Reads every record of the log and every sealed file, and says what is not as it was written. `progress` is called after
/// each file.
///
/// # Errors
/// As [`status`].
pub async fn verify(
    config: &EngineConfig,
    progress: impl FnMut(Progress) + Send + 'static,
) -> Result<Checked, EngineError> {
    let dir = lock(config)?;
    // The log first: the way it is now, before anything is opened.
    let (path, limits) = (dir.path().join("log"), config.admission);
    let checking = tokio::task::spawn_blocking(move || log::check(&path, &limits));
    let (log, mut faults) = checking.await.map_err(|_| StoreError::Stopping)??;
    let (sealed, _) = open_sealed(config, &dir).await?;
    let verified = sealed.verify(progress).await?;
    faults.extend(verified.faults);
    if let Some(first) = log.first.filter(|first| *first > verified.sealed_through.next()) {
        let problem = format!(
            "begins with record {first}, files end with {}: those between are missing",
            verified.sealed_through
        );
        faults.push(Fault { name: "log".to_owned(), problem });
    }
    Ok(Checked { files: verified.progress, log, faults })
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
    let StoreOptions { dir, engine, disk, remote, compaction, .. } = kept::options(config, dir)?;
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
