//! Takes in batches: bytes from outside become rows of `requests`, or are refused with a code and a reason.
//!
//! Bound: [`DecodeLimits`]. Nothing is allocated before the claims that the bytes make about themselves were added up
//! and found to be within them.

mod arrays;
mod buffers;
mod columns;
mod framing;
mod lz4;
mod refusal;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray, new_null_array};
use arrow::ipc;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use tollgate_attributes::{ATTRIBUTES, schema};

use self::arrays::Dictionaries;
use self::buffers::{Body, Budget};
use self::columns::StreamColumn;
use self::framing::Frames;
pub use self::refusal::{Refusal, RefusalCode};

/// Most that one batch may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most bytes of a message as it arrives.
    pub message_bytes_max: usize,
    /// Most rows.
    pub rows_max: usize,
    /// Most bytes that its columns may take once decompressed.
    pub decoded_bytes_max: usize,
}

impl Default for DecodeLimits {
    /// 4 MiB as it arrives, 65,536 rows, 64 MiB decoded.
    fn default() -> Self {
        Self { message_bytes_max: 4 << 20, rows_max: 65_536, decoded_bytes_max: 64 << 20 }
    }
}

/// Who reported a batch, and when it arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) reporter: &'a str,
    /// Microseconds since the epoch.
    pub(crate) now_us: i64,
    /// How old its rows may be: not older than they are kept.
    pub(crate) age_us_max: i64,
}

impl<'a> Arrival<'a> {
    /// A batch that arrives at this time, or did, of rows that are kept for a day at least.
    pub(crate) fn at(reporter: &'a str, now_us: i64) -> Self {
        Self { reporter, now_us, age_us_max: values::AGE_US_MAX }
    }

    /// The same, of rows that are kept for so long.
    pub(crate) fn kept_for(self, age: Option<Duration>) -> Self {
        let kept_us = age.and_then(|age| i64::try_from(age.as_micros()).ok()).unwrap_or(i64::MAX);
        Self { age_us_max: kept_us.min(self.age_us_max), ..self }
    }
}

/// Decodes a batch and checks its values; the rows have the schema of `requests`.
pub(crate) fn admit(bytes: &[u8], limits: &DecodeLimits, arrival: Arrival<'_>) -> Result<RecordBatch, Refusal> {
    let batch = decode_columns(bytes, limits)?.into_batch(Some(arrival.reporter))?;
    values::check(&batch, arrival)?;
    Ok(batch)
}

/// Decodes an Arrow IPC stream that holds one batch of `requests`, without looking at its values.
///
/// # Errors
/// Says what is wrong with the bytes. Never panics, and never allocates more than a small multiple of
/// [`DecodeLimits::decoded_bytes_max`].
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RecordBatch, Refusal> {
    decode_columns(bytes, limits)?.into_batch(None)
}

/// What a stream held: its columns, and where each belongs in the vocabulary.
struct Decoded {
    columns: Vec<(StreamColumn, ArrayRef)>,
    rows: usize,
    budget: Budget,
}

fn decode_columns(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, Refusal> {
    // Every length and offset is checked before Arrow sees it. Arrow's constructors are meant to return errors from
    // there on, but some of their invariants are asserted: should one have been missed, a reporter loses its batch and
    // not everyone the engine. Nothing that the closure touches outlives it.
    catch_unwind(AssertUnwindSafe(|| decode_unguarded(bytes, limits)))
        .unwrap_or_else(|_| Err(Refusal::malformed("the columns contradict one another")))
}

fn decode_unguarded(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, Refusal> {
    if bytes.len() > limits.message_bytes_max {
        let (size, max) = (bytes.len(), limits.message_bytes_max);
        return Err(Refusal::too_large(format!("the message has {size} bytes, at most {max} are taken")));
    }
    let mut budget = Budget::new(limits.decoded_bytes_max);
    let mut frames = Frames::new(bytes);
    let columns = columns::read(&frames.next_required("a schema")?)?;
    let mut dictionaries = Dictionaries::new(&columns);
    loop {
        let frame = frames.next_required("a record batch")?;
        if let Some(dictionary) = frame.message.header_as_dictionary_batch() {
            dictionaries.read(dictionary, frame.body, &mut budget)?;
        } else if let Some(batch) = frame.message.header_as_record_batch() {
            let decoded = read_batch(columns, &dictionaries, batch, frame.body, limits, budget)?;
            return frames.expect_end().map(|()| decoded);
        } else {
            return Err(Refusal::malformed("expected dictionaries and one record batch after the schema"));
        }
    }
}

fn read_batch(
    columns: Vec<StreamColumn>,
    dictionaries: &Dictionaries,
    batch: ipc::RecordBatch<'_>,
    body: &[u8],
    limits: &DecodeLimits,
    mut budget: Budget,
) -> Result<Decoded, Refusal> {
    let rows = usize::try_from(batch.length()).unwrap_or(usize::MAX);
    if rows == 0 || rows > limits.rows_max {
        return Err(Refusal::rows(format!("a batch of {rows} rows: 1 to {} are taken", limits.rows_max)));
    }
    let mut body = Body::new(batch, body, &mut budget)?;
    let read = |column: StreamColumn| {
        let array = arrays::read_column(&mut body, column, dictionaries, rows)?;
        Ok((column, array))
    };
    let columns = columns.into_iter().map(read).collect::<Result<Vec<_>, Refusal>>()?;
    body.expect_end()?;
    Ok(Decoded { columns, rows, budget })
}

impl Decoded {
    /// Puts the columns in the order of the vocabulary; those that the stream did not have are null, and `reporter` is
    /// filled in when it is known.
    fn into_batch(mut self, reporter: Option<&str>) -> Result<RecordBatch, Refusal> {
        let mut ordered = Vec::with_capacity(ATTRIBUTES.len());
        for (index, attribute) in ATTRIBUTES.iter().enumerate() {
            let sent = self.columns.iter().position(|(column, _)| column.attribute == index);
            ordered.push(match (sent, reporter) {
                (Some(position), _) => self.columns.swap_remove(position).1,
                (None, Some(reporter)) if attribute.name == "reporter" => {
                    self.budget.take(self.rows * size_of::<i32>())?;
                    constant(reporter, self.rows)?
                }
                (None, _) if attribute.kind.is_nullable() => {
                    self.budget.take(self.rows * 16)?;
                    new_null_array(&attribute.kind.data_type(), self.rows)
                }
                (None, _) => return Err(Refusal::schema(format!("the column `{}` is missing", attribute.name))),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(schema(), ordered, &options)
            .map_err(|error| Refusal::malformed(format!("the columns do not make a batch: {error}")))
    }
}

fn constant(value: &str, rows: usize) -> Result<ArrayRef, Refusal> {
    let keys = Int32Array::from(vec![0; rows]);
    let values = Arc::new(StringArray::from(vec![value]));
    let array = DictionaryArray::try_new(keys, values)
        .map_err(|error| Refusal::malformed(format!("the reporter's name does not make a column: {error}")))?;
    Ok(Arc::new(array))
}

#[cfg(test)]
mod tests;
