//! The durable store: write-ahead log, Parquet, manifest, compaction and retention.

mod error;
mod table;
mod view;

pub use error::StoreError;
pub use table::{Merge, Partition, Retention, TableSpec};
pub use view::{HotBatch, Position, SealedFile, TableView, View};
