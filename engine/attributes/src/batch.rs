//! A bounded builder that turns rows into Arrow record batches.

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::vocabulary::{Columns, Row, schema};

/// When a batch is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most rows.
    pub rows_max: usize,
    /// Most bytes, as estimated from the values appended.
    pub bytes_max: usize,
}

impl Default for BatchLimits {
    /// 8,192 rows or 3 MiB, which stays below gRPC's customary message limit of 4 MiB.
    fn default() -> Self {
        Self { rows_max: 8_192, bytes_max: 3 << 20 }
    }
}

/// Whether a batch takes more rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a full batch has to be finished before the next row"]
pub enum Fill {
    /// There is room.
    Room,
    /// The batch reached one of its limits.
    Full,
}

/// Collects rows into the columns of one batch.
///
/// Bound: [`BatchLimits`]. The builder says [`Fill::Full`] and goes on taking rows; it is the owner who finishes the batch.
/// A text value is cut at 2,048 bytes and a list or map at 64 entries, so that one row cannot exceed the bound by much.
pub struct BatchBuilder {
    columns: Columns,
    limits: BatchLimits,
    rows: usize,
    bytes: usize,
}

impl BatchBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new(limits: BatchLimits) -> Self {
        // Most batches leave because they are old, not because they are full: room for all would waste memory.
        let columns = Columns::with_capacity(limits.rows_max.min(256));
        Self { columns, limits, rows: 0, bytes: 0 }
    }

    /// Appends one row.
    pub fn push(&mut self, row: &Row<'_>) -> Fill {
        self.bytes += self.columns.append(row);
        self.rows += 1;
        if self.rows >= self.limits.rows_max || self.bytes >= self.limits.bytes_max { Fill::Full } else { Fill::Room }
    }

    /// Rows appended since the last batch was finished.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the batch with [`schema`] as its schema and starts the next one.
    ///
    /// # Errors
    /// Arrow's own, should columns and schema ever disagree.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        self.bytes = 0;
        RecordBatch::try_new(schema(), self.columns.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int16Type, Int32Type, Int64Type};
    use proptest::prelude::*;

    use super::*;

    fn builder(rows_max: usize) -> BatchBuilder {
        BatchBuilder::new(BatchLimits { rows_max, bytes_max: usize::MAX })
    }

    #[test]
    fn a_row_comes_back_as_it_was_given() {
        let mut builder = builder(10);
        let policies: [Arc<str>; 2] = ["a".into(), "b".into()];
        let labels = [(Arc::from("x-tenant"), "acme".to_owned())];
        let row = Row {
            time: 42,
            source: "shop/storefront",
            status: Some(200),
            duration_us: 1_500,
            policies: &policies,
            labels: &labels,
            trace_id: Some([7; 16]),
            is_mtls: true,
            weight: 1,
            ..Row::default()
        };
        assert_eq!(builder.push(&row), Fill::Room);
        let batch = builder.finish().unwrap();

        assert_eq!(batch.num_rows(), 1);
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let source = column("source").as_dictionary::<Int32Type>();
        assert_eq!(source.values().as_string::<i32>().value(0), "shop/storefront");
        assert_eq!(column("status").as_primitive::<Int16Type>().value(0), 200);
        assert_eq!(column("duration_us").as_primitive::<Int64Type>().value(0), 1_500);
        assert_eq!(column("policies").as_list::<i32>().value(0).as_string::<i32>().value(1), "b");
        assert_eq!(column("labels").as_map().value(0).column(1).as_string::<i32>().value(0), "acme");
        assert_eq!(column("trace_id").as_fixed_size_binary().value(0), [7; 16]);
        assert!(column("user").is_null(0) && column("grpc_status").is_null(0) && column("shadow").is_null(0));
    }

    #[test]
    fn is_full_at_its_rows_and_at_its_bytes() {
        let mut by_rows = builder(2);
        assert_eq!(by_rows.push(&Row::default()), Fill::Room);
        assert_eq!(by_rows.push(&Row::default()), Fill::Full);
        assert_eq!(by_rows.finish().unwrap().num_rows(), 2);
        assert_eq!(by_rows.rows(), 0);

        let mut by_bytes = BatchBuilder::new(BatchLimits { rows_max: 1_000, bytes_max: 10_000 });
        let path = "/x".repeat(400);
        let pushed = (1..).find(|_| by_bytes.push(&Row { path: &path, ..Row::default() }) == Fill::Full).unwrap();
        assert!(pushed < 15, "{pushed} rows of 800 bytes fit into 10,000 bytes");
    }

    proptest! {
        #[test]
        fn any_text_makes_a_valid_batch(paths in prop::collection::vec(".{0,3000}", 1..20)) {
            let mut builder = builder(100);
            for path in &paths {
                let _ = builder.push(&Row { path, request_id: path, ..Row::default() });
            }
            let batch = builder.finish().unwrap();
            for (index, path) in paths.iter().enumerate() {
                let ids = batch.column_by_name("request_id").unwrap().as_string::<i32>();
                prop_assert_eq!(ids.is_null(index), path.is_empty());
                if !path.is_empty() {
                    prop_assert!(ids.value(index).len() <= 2_048 && path.starts_with(ids.value(index)));
                }
            }
        }
    }
}
