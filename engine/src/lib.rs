//! The engine: ingest, store, SQL, signals, leases and snapshots.
