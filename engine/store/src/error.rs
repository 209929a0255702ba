//! Why the store cannot do what it was asked.

use std::io;
use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use parquet::errors::ParquetError;

/// Why the store cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A local file could not be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// An object of the object store could not be read or written.
    #[error("cannot {action} `{key}` in {place}: {source}")]
    Object {
        /// What was tried.
        action: &'static str,
        /// The object's key.
        key: String,
        /// The object store.
        place: String,
        /// Why it failed.
        source: Box<object_store::Error>,
    },
    /// A file holds what no engine wrote, and without it data would be lost.
    #[error("`{}` is damaged: {problem}; restore it, or move it away and accept what that loses", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that this version cannot read, and without which data would be lost.
    #[error("`{}` {problem}; start the version that wrote it, or move it away and accept what that loses", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        problem: String,
    },
    /// Sealed files are somewhere else than where they are looked for.
    #[error(
        "the sealed files of `{}` are in {recorded}, and {missing} of {files} are not in {asked}: start it with {recorded} \
         as before, or copy `tables/` from there to {asked} first", path.display()
    )]
    Elsewhere {
        /// The directory of the manifest that says so.
        path: PathBuf,
        /// Where they are.
        recorded: String,
        /// Where they were looked for.
        asked: String,
        /// Files that are not there, or could not be looked for.
        missing: usize,
        /// Files that the manifest lists.
        files: usize,
    },
    /// Rows could not be turned into Parquet or back.
    #[error("cannot {action} `{key}`: {source}")]
    Parquet {
        /// What was tried.
        action: &'static str,
        /// The file's key.
        key: String,
        /// Why it failed.
        source: ParquetError,
    },
    /// Rows do not have the columns or values that their table wants.
    #[error("rows of `{table}`: {source}")]
    Rows {
        /// The table.
        table: &'static str,
        /// Why.
        source: ArrowError,
    },
    /// A record exceeds what the log takes.
    #[error("{what} of {bytes} bytes: at most {max} are kept; send smaller batches")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The most that is taken.
        max: usize,
    },
    /// Two newer runs of a reporter are known, so that this one's batches could not be told from what was kept.
    #[error("two newer runs of `{reporter}` have reported: give each reporter a name of its own")]
    Superseded {
        /// The reporter.
        reporter: String,
    },
    /// The thread that publishes rows has panicked. Nothing is acknowledged any more by this process.
    #[error("rows are no longer published: {reason}; restart the engine, and report this")]
    Broken {
        /// What the panic said.
        reason: String,
    },
    /// A background task ended before its work was done: the process is stopping.
    #[error("the store is stopping")]
    Stopping,
}

impl StoreError {
    /// Whether the same call may succeed later: a full or failing disk, an object store that is away.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Object { .. })
    }

    /// Whether there is no room left where it wanted to write.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
