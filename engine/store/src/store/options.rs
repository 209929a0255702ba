//! What the store is told when it is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::compaction::CompactionLimits;
use crate::disk::{Disk, LocalDisk};
use crate::objects::Remote;

/// When a row counts as kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Once it is synced to the log.
    #[default]
    Disk,
    /// Once it is in memory: what is not sealed yet is lost when the engine ends unexpectedly.
    Memory,
}

/// How much stays in memory, and when it is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Most bytes of rows that are not sealed, with those on their way into the log. What comes when it is reached waits.
    pub hot_bytes: usize,
    /// Most bytes of sealed rows that stay in memory so that recent ones need not be read back; the oldest go first.
    pub resident_bytes: usize,
    /// Rows are sealed at this age.
    pub seal_after: Duration,
    /// Rows are sealed when there are so many.
    pub seal_rows: u64,
}

impl Default for MemoryLimits {
    /// 1 GiB hot, 1 GiB resident; sealed each minute or million rows.
    fn default() -> Self {
        Self { hot_bytes: 1 << 30, resident_bytes: 1 << 30, seal_after: Duration::from_secs(60), seal_rows: 1_000_000 }
    }
}

/// Where the store is, and how it works.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The data directory. It belongs to this engine alone, which the caller sees to.
    pub dir: PathBuf,
    /// The engine's id, at most 64 bytes: part of every file's name.
    pub engine: Arc<str>,
    /// How local files are reached.
    pub disk: Arc<dyn Disk>,
    /// Where Parquet files go instead of the data directory.
    pub remote: Option<Remote>,
    /// When a row counts as kept.
    pub durability: Durability,
    /// How much stays in memory.
    pub memory: MemoryLimits,
    /// How compaction is bounded.
    pub compaction: CompactionLimits,
}

impl StoreOptions {
    /// A store in a local directory, with the default limits.
    #[must_use]
    pub fn new(dir: PathBuf, engine: &str) -> Self {
        Self {
            dir,
            engine: engine.into(),
            disk: Arc::new(LocalDisk),
            remote: None,
            durability: Durability::default(),
            memory: MemoryLimits::default(),
            compaction: CompactionLimits::default(),
        }
    }
}
