//! Arrow Flight SQL on the gRPC port, for ADBC, JDBC, pandas and polars: queries as Arrow, and rows into `requests` from any
//! Arrow client.
//!
//! - `service`: which command means what; `tables`: catalogs, schemas, tables and what the server can do;
//! - `ingest`: rows that arrive, admitted as those of any reporter.

mod ingest;
mod service;
mod tables;

use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;

pub(crate) use self::service::service;

/// One batch as a complete Arrow stream.
fn stream(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.into_inner()
}
