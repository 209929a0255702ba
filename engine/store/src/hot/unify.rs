//! Puts batches together into one, with one dictionary for each column of names.
//!
//! Arrow's own `concat` strings dictionaries together and keeps what they have in common as often as it occurs, so that
//! each merge would grow them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Builder, StringBuilder};
use arrow::compute;
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

/// One batch with the rows of all, in their order. All have this schema.
pub(crate) fn concat<'a>(
    schema: &SchemaRef,
    batches: impl Iterator<Item = &'a RecordBatch> + Clone,
) -> Result<RecordBatch, ArrowError> {
    let column = |index: usize| {
        let arrays: Vec<&dyn Array> = batches.clone().map(|batch| batch.column(index).as_ref()).collect();
        match schema.field(index).data_type() {
            DataType::Dictionary(key, value) if **key == DataType::Int32 && **value == DataType::Utf8 => {
                concat_names(&arrays)
            }
            _ => compute::concat(&arrays),
        }
    };
    let columns = (0..schema.fields().len()).map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

fn concat_names(arrays: &[&dyn Array]) -> Result<ArrayRef, ArrowError> {
    let mut codes: HashMap<&str, i32> = HashMap::new();
    let mut names = StringBuilder::new();
    let mut keys = Int32Builder::with_capacity(arrays.iter().map(|array| array.len()).sum());
    for array in arrays {
        let array = array.as_dictionary::<Int32Type>();
        let new_codes: Vec<Option<i32>> = array
            .values()
            .as_string::<i32>()
            .iter()
            .map(|name| {
                name.map(|name| {
                    let next = codes.len() as i32;
                    *codes.entry(name).or_insert_with(|| {
                        names.append_value(name);
                        next
                    })
                })
            })
            .collect();
        for key in array.keys() {
            keys.append_option(key.and_then(|key| new_codes.get(key as usize).copied().flatten()));
        }
    }
    Ok(Arc::new(DictionaryArray::try_new(keys.finish(), Arc::new(names.finish()))?))
}
