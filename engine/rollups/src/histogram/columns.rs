//! Histograms as Arrow columns: an offset, a list of counts and a count of zeros for each.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type};
use arrow::error::ArrowError;

use super::{HistogramView, INDEX_MAX, INDEX_MIN};

/// What cannot be read as a histogram.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// A column is of another type.
    #[error("the {part} of a histogram must be `{expected}`, not `{found}`")]
    Type {
        /// Which column: offset, counts or zeros.
        part: &'static str,
        /// The type that it should have.
        expected: DataType,
        /// The type that it has.
        found: DataType,
    },
    /// The columns are not equally long.
    #[error("offset, counts and zeros of histograms differ in length: {0}, {1} and {2} rows")]
    Lengths(usize, usize, usize),
    /// Buckets that no duration falls into.
    #[error("a histogram has {buckets} buckets from {offset} on: they lie between -1 and 511")]
    Buckets {
        /// First bucket.
        offset: i32,
        /// How many there are.
        buckets: usize,
    },
    /// A count below zero, or none.
    #[error("a histogram has a count that is null or negative")]
    Count,
}

/// Type of the column of counts.
pub(crate) fn counts_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))
}

/// The three columns, checked to be what they should be.
#[derive(Debug, Clone)]
pub struct HistogramColumns<'a> {
    offsets: &'a Int32Array,
    lists: &'a ListArray,
    counts: &'a Int64Array,
    zeros: &'a Int64Array,
}

impl<'a> HistogramColumns<'a> {
    /// Borrows the columns `duration_offset`, `duration_counts` and `duration_zero`.
    ///
    /// # Errors
    /// When one is of another type or length.
    pub fn try_new(offsets: &'a ArrayRef, counts: &'a ArrayRef, zeros: &'a ArrayRef) -> Result<Self, HistogramError> {
        let wrong = |part, expected, array: &ArrayRef| HistogramError::Type {
            part,
            expected,
            found: array.data_type().clone(),
        };
        let lengths = (offsets.len(), counts.len(), zeros.len());
        let offsets =
            offsets.as_primitive_opt::<Int32Type>().ok_or_else(|| wrong("offset", DataType::Int32, offsets))?;
        let lists = counts.as_list_opt::<i32>().ok_or_else(|| wrong("counts", counts_type(), counts))?;
        let counts =
            lists.values().as_primitive_opt::<Int64Type>().ok_or_else(|| wrong("counts", counts_type(), counts))?;
        let zeros = zeros.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong("zeros", DataType::Int64, zeros))?;
        if lengths.0 != lengths.1 || lengths.1 != lengths.2 {
            return Err(HistogramError::Lengths(lengths.0, lengths.1, lengths.2));
        }
        Ok(Self { offsets, lists, counts, zeros })
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The histogram of a row; `None` where one of its parts is null, or the row does not exist.
    ///
    /// # Errors
    /// When buckets or counts cannot be.
    pub fn get(&self, row: usize) -> Result<Option<HistogramView<'a>>, HistogramError> {
        if row >= self.len() || self.offsets.is_null(row) || self.lists.is_null(row) || self.zeros.is_null(row) {
            return Ok(None);
        }
        let (offset, zero) = (self.offsets.value(row), self.zeros.value(row));
        let [from, through] = [row, row + 1].map(|at| self.lists.value_offsets()[at] as usize);
        let counts = &self.counts.values()[from..through];
        let nulls = self.counts.nulls().filter(|nulls| nulls.null_count() > 0);
        let is_null = nulls.is_some_and(|nulls| nulls.slice(from, through - from).null_count() > 0);
        if is_null || counts.iter().fold(zero, |signs, count| signs | count) < 0 {
            return Err(HistogramError::Count);
        }
        if counts.is_empty() {
            return Ok(Some(HistogramView::new(zero, 0, counts)));
        }
        let last = offset.checked_add(counts.len() as i32 - 1);
        if offset < INDEX_MIN || last.is_none_or(|last| last > INDEX_MAX) {
            return Err(HistogramError::Buckets { offset, buckets: counts.len() });
        }
        Ok(Some(HistogramView::new(zero, offset, counts)))
    }
}

/// Histograms in three columns of their own.
#[derive(Debug, Clone)]
pub struct HistogramArrays {
    /// First bucket of each, `Int32`.
    pub offsets: ArrayRef,
    /// Counts of adjacent buckets, `List<Int64>`.
    pub counts: ArrayRef,
    /// Durations of zero, `Int64`.
    pub zeros: ArrayRef,
}

impl HistogramArrays {
    /// One row for each; `None` becomes null in all three.
    ///
    /// # Errors
    /// When there are more than 2^31 counts.
    pub fn collect<'a>(views: impl Iterator<Item = Option<HistogramView<'a>>>) -> Result<Self, ArrowError> {
        let mut builder = HistogramBuilder::default();
        views.for_each(|view| builder.push(view));
        builder.finish()
    }
}

/// Collects [`HistogramArrays`].
#[derive(Debug, Default)]
pub(crate) struct HistogramBuilder {
    offsets: Vec<i32>,
    counts: Vec<i64>,
    lengths: Vec<usize>,
    zeros: Vec<i64>,
    valid: Vec<bool>,
}

impl HistogramBuilder {
    pub(crate) fn push(&mut self, view: Option<HistogramView<'_>>) {
        let (offset, counts) = view.map(|view| view.trimmed()).unwrap_or_default();
        self.offsets.push(offset);
        self.counts.extend_from_slice(counts);
        self.lengths.push(counts.len());
        self.zeros.push(view.map_or(0, |view| view.zero()));
        self.valid.push(view.is_some());
    }

    pub(crate) fn finish(self) -> Result<HistogramArrays, ArrowError> {
        if i32::try_from(self.counts.len()).is_err() {
            return Err(ArrowError::OffsetOverflowError(self.counts.len()));
        }
        let nulls = self.valid.contains(&false).then(|| NullBuffer::from(self.valid));
        let field = Arc::new(Field::new_list_field(DataType::Int64, true));
        let counts = ListArray::try_new(
            field,
            OffsetBuffer::from_lengths(self.lengths),
            Arc::new(Int64Array::from(self.counts)),
            nulls.clone(),
        )?;
        Ok(HistogramArrays {
            offsets: Arc::new(Int32Array::try_new(ScalarBuffer::from(self.offsets), nulls.clone())?),
            counts: Arc::new(counts),
            zeros: Arc::new(Int64Array::try_new(ScalarBuffer::from(self.zeros), nulls)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Histogram;
    use super::*;

    fn columns(offset: i32, counts: Vec<Option<i64>>, zero: i64) -> [ArrayRef; 3] {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(counts)]);
        [Arc::new(Int32Array::from(vec![offset])), Arc::new(lists), Arc::new(Int64Array::from(vec![zero]))]
    }

    fn refusal(columns: &[ArrayRef; 3]) -> String {
        let [offsets, counts, zeros] = columns;
        HistogramColumns::try_new(offsets, counts, zeros).and_then(|columns| columns.get(0)).unwrap_err().to_string()
    }

    #[test]
    fn come_back_as_they_were() {
        let mut histogram = Histogram::default();
        [0, 3, 3, 700_000].into_iter().for_each(|duration| histogram.record(duration, 2));
        let empty = Histogram::default();
        let views = [Some(histogram.view()), None, Some(empty.view())];
        let arrays = HistogramArrays::collect(views.into_iter()).unwrap();
        let columns = HistogramColumns::try_new(&arrays.offsets, &arrays.counts, &arrays.zeros).unwrap();
        assert_eq!((columns.len(), columns.is_empty()), (3, false));
        for (row, view) in views.into_iter().enumerate() {
            assert_eq!(columns.get(row).unwrap(), view);
        }
        assert_eq!(columns.get(3).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let counts = "a histogram has a count that is null or negative";
        assert_eq!(refusal(&columns(0, vec![Some(1), None], 0)), counts);
        assert_eq!(refusal(&columns(0, vec![Some(-1)], 0)), counts);
        assert_eq!(refusal(&columns(0, vec![], -1)), counts);
        for (offset, buckets) in [(-2, 1), (511, 2), (i32::MAX, 2), (i32::MIN, 1), (-1, 514)] {
            let expected = format!("a histogram has {buckets} buckets from {offset} on: they lie between -1 and 511");
            assert_eq!(refusal(&columns(offset, vec![Some(1); buckets], 0)), expected);
        }
        let [offsets, counts, zeros] = columns(0, vec![], 0);
        assert_eq!(
            refusal(&[zeros.clone(), counts.clone(), zeros.clone()]),
            "the offset of a histogram must be `Int32`, not `Int64`"
        );
        assert_eq!(
            refusal(&[offsets, counts, zeros.slice(0, 0)]),
            "offset, counts and zeros of histograms differ in length: 1, 1 and 0 rows"
        );
    }
}
