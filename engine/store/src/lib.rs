//! The durable store: write-ahead log, Parquet, manifest, compaction and retention.
