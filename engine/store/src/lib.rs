//! The durable store: write-ahead log, Parquet, manifest, compaction and retention.

mod disk;
mod error;
mod marks;
mod table;
mod view;

pub use disk::{Disk, DiskEntry, DiskFile, LocalDisk};
pub use error::StoreError;
pub use marks::{Mark, Marks, Standing};
pub use table::{Merge, Partition, Retention, TableSpec};
pub use view::{HotBatch, Position, SealedFile, TableView, View};
