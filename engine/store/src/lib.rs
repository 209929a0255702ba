//! The durable store: write-ahead log, Parquet, manifest, compaction and retention.

mod aside;
mod compaction;
mod disk;
mod error;
mod export;
mod hot;
mod log;
mod manifest;
mod marks;
mod objects;
mod parquet;
mod retention;
mod sealed;
mod store;
mod table;
mod verify;
mod view;

pub use aside::Aside;
pub use compaction::{Compaction, CompactionLimits};
pub use disk::{Disk, DiskEntry, DiskFile, LocalDisk};
pub use error::StoreError;
pub use export::{Export, ExportFormat, Exported};
pub use log::{
    DamagedSegment, DiskState, LogRecovery, LogStatus, Record, SYNC_BOUNDS_US, SegmentError, SegmentHeader,
    SegmentReader, SegmentRecord, Step, read_segment,
};
pub use marks::{Mark, Marks, Standing};
pub use objects::{Remote, S3};
pub use parquet::{DamagedList, PackedIntegers, is_packed, pack, unpack};
pub use sealed::{Files, Opened, Seal, Sealed, SealedOptions, SealedStatus, TableStatus};
pub use store::{
    Appended, Derive, Derived, Durability, MemoryLimits, Recovery, SealStatus, Store, StoreOptions, StoreStatus, Ticket,
};
pub use table::{Merge, Partition, Retention, TableSpec};
pub use verify::{Fault, Inspection, Progress, Verified, check_footer};
pub use view::{HotBatch, Position, SealedFile, TableView, View};
