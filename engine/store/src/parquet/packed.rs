//! Lists of integers, as files hold them: one binary value a row, short where integers are few, small or 0.
//!
//! A histogram's counts are many, and most are 0. As a Parquet list each would carry two levels, and all of them would be read. A
//! packed list has one byte for each integer that is not 0: the upper four bits say how many zeros are before it. The lower four bits
//! say what it is up to 14; with 15, what is above 15 follows as an unsigned LEB128 number; with 0 there is one more zero, and no
//! integer.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, ListArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::hybrid::varint;

/// Set in every byte of a LEB128 number but its last.
const MORE: u8 = 0x80;
/// Lower bits of a byte behind which a number follows.
const LARGE: u8 = 0x0F;
/// Most integers of one list, so that damaged bytes cannot claim more memory than there is.
const INTEGERS_MAX: usize = 1 << 20;
/// Most zeros in one byte.
const ZEROS_MAX: usize = 16;

/// The columns as they are in files.
pub(super) fn in_files(schema: &SchemaRef) -> SchemaRef {
    let field = |field: &FieldRef| match item(field.data_type()) {
        Some(_) => Arc::new(Field::new(field.name(), DataType::Binary, field.is_nullable())),
        None => Arc::clone(field),
    };
    Arc::new(Schema::new_with_metadata(
        schema.fields().iter().map(field).collect::<Vec<_>>(),
        schema.metadata().clone(),
    ))
}

/// A column as it is in files: lists of `Int64` are packed, others stay.
///
/// # Errors
/// When a list holds a null or more than 2^20 integers, or there are 2^31 bytes.
pub fn pack(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let lists = column.as_list_opt::<i32>().filter(|_| item(column.data_type()).is_some());
    match lists {
        Some(lists) => Ok(Arc::new(packed(lists)?)),
        None => Ok(Arc::clone(column)),
    }
}

/// Rows as they are in files; `None` when they are so already.
pub(crate) fn pack_rows(rows: &RecordBatch) -> Result<Option<RecordBatch>, ArrowError> {
    if !rows.schema_ref().fields().iter().any(|field| item(field.data_type()).is_some()) {
        return Ok(None);
    }
    let columns = rows.columns().iter().map(pack).collect::<Result<_, _>>()?;
    RecordBatch::try_new(in_files(rows.schema_ref()), columns).map(Some)
}

/// Whether a column of this type is read from files where it has that one, and so has to go through [`unpack`].
#[must_use]
pub fn is_packed(data_type: &DataType, in_file: &DataType) -> bool {
    item(data_type).is_some() && *in_file == DataType::Binary
}

/// A column of lists of `Int64`, from what a file holds.
///
/// # Errors
/// When `data_type` is another type, the column is not binary, or its bytes are no numbers.
pub fn unpack(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let packed = column.as_binary_opt::<i32>().zip(item(data_type));
    let (packed, item) = packed.ok_or_else(|| {
        ArrowError::SchemaError(format!("`{}` in a file cannot be read as `{data_type}`", column.data_type()))
    })?;
    Ok(Arc::new(unpacked(packed, item)?))
}

/// The items of lists that files hold packed.
fn item(data_type: &DataType) -> Option<&FieldRef> {
    match data_type {
        DataType::List(item) if *item.data_type() == DataType::Int64 => Some(item),
        _ => None,
    }
}

/// The integers of a packed list that are not 0, each with its place.
#[derive(Debug, Clone)]
pub struct PackedIntegers<'a> {
    bytes: &'a [u8],
    /// How many integers have been read, zeros included.
    len: usize,
}

/// The bytes are no list of integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a packed list of integers is damaged")]
pub struct DamagedList;

impl From<DamagedList> for ArrowError {
    fn from(damaged: DamagedList) -> Self {
        Self::ParquetError(damaged.to_string())
    }
}

impl<'a> PackedIntegers<'a> {
    /// Reads one packed list.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, len: 0 }
    }
}

impl Iterator for PackedIntegers<'_> {
    type Item = Result<(usize, i64), DamagedList>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while let Some((byte, rest)) = self.bytes.split_first() {
            self.bytes = rest;
            let at = self.len + usize::from(byte >> 4);
            self.len = at + 1;
            if self.len > INTEGERS_MAX {
                return Some(Err(DamagedList));
            }
            match byte & LARGE {
                0 => {}
                LARGE => return Some(self.large().map(|integer| (at, integer)).ok_or(DamagedList)),
                small => return Some(Ok((at, i64::from(small)))),
            }
        }
        None
    }
}

impl PackedIntegers<'_> {
    /// The integer of which the part above 15 comes next; `None` when that does not end, or has more than 64 bits.
    #[cold]
    fn large(&mut self) -> Option<i64> {
        let mut above = 0;
        for at in 0..10 {
            let (byte, rest) = self.bytes.split_first()?;
            let bits = u64::from(byte & !MORE);
            if at == 9 && bits > 1 {
                return None;
            }
            self.bytes = rest;
            above |= bits << (7 * at);
            if byte & MORE == 0 {
                return Some(above.wrapping_add(u64::from(LARGE)) as i64);
            }
        }
        None
    }
}

fn packed(lists: &ListArray) -> Result<BinaryArray, ArrowError> {
    let integers = lists.values().as_primitive::<Int64Type>();
    let mut bytes = Vec::new();
    let mut offsets = Vec::with_capacity(lists.len() + 1);
    offsets.push(0);
    for row in 0..lists.len() {
        if lists.is_valid(row) {
            let [from, through] = [row, row + 1].map(|at| lists.value_offsets()[at] as usize);
            let nulls = integers.nulls().map(|nulls| nulls.slice(from, through - from));
            if nulls.is_some_and(|nulls| nulls.null_count() > 0) {
                return Err(ArrowError::InvalidArgumentError("a list of integers holds a null".to_owned()));
            }
            if through - from > INTEGERS_MAX {
                let long = format!("a list has more than {INTEGERS_MAX} integers");
                return Err(ArrowError::InvalidArgumentError(long));
            }
            pack_list(&integers.values()[from..through], &mut bytes);
        }
        offsets.push(i32::try_from(bytes.len()).map_err(|_| ArrowError::OffsetOverflowError(bytes.len()))?);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    BinaryArray::try_new(offsets, Buffer::from(bytes), lists.nulls().cloned())
}

fn pack_list(integers: &[i64], bytes: &mut Vec<u8>) {
    let only_zeros = |zeros: usize| (zeros as u8 - 1) << 4;
    let mut zeros = 0;
    for integer in integers {
        if *integer == 0 {
            zeros += 1;
            continue;
        }
        while zeros >= ZEROS_MAX {
            bytes.push(only_zeros(ZEROS_MAX));
            zeros -= ZEROS_MAX;
        }
        let before = (zeros as u8) << 4;
        zeros = 0;
        match *integer {
            small @ 1..15 => bytes.push(before | small as u8),
            large => {
                bytes.push(before | LARGE);
                varint((large as u64).wrapping_sub(u64::from(LARGE)), bytes);
            }
        }
    }
    while zeros > 0 {
        let some = zeros.min(ZEROS_MAX);
        bytes.push(only_zeros(some));
        zeros -= some;
    }
}

fn unpacked(packed: &BinaryArray, item: &FieldRef) -> Result<ListArray, ArrowError> {
    let mut integers = Vec::with_capacity(packed.len() * 16);
    let mut ends = Vec::with_capacity(packed.len() + 1);
    ends.push(0);
    for row in 0..packed.len() {
        let start = integers.len();
        let mut list = PackedIntegers::new(if packed.is_valid(row) { packed.value(row) } else { &[] });
        for integer in &mut list {
            let (at, integer) = integer?;
            integers.resize(start + at, 0);
            integers.push(integer);
        }
        integers.resize(start + list.len, 0);
        ends.push(i32::try_from(integers.len()).map_err(|_| ArrowError::OffsetOverflowError(integers.len()))?);
    }
    let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
    ListArray::try_new(Arc::clone(item), ends, Arc::new(Int64Array::from(integers)), packed.nulls().cloned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lists(rows: &[Option<Vec<i64>>]) -> ListArray {
        let items = |row: &Option<Vec<i64>>| row.as_ref().map(|row| row.iter().copied().map(Some).collect::<Vec<_>>());
        ListArray::from_iter_primitive::<Int64Type, _, _>(rows.iter().map(items))
    }

    fn check(lists: ListArray) {
        let lists: ArrayRef = Arc::new(lists);
        let packed = pack(&lists).unwrap();
        assert!(is_packed(lists.data_type(), packed.data_type()));
        assert_eq!(&unpack(&packed, lists.data_type()).unwrap(), &lists);
    }

    fn refusal(bytes: &[u8]) -> String {
        let packed: ArrayRef = Arc::new(BinaryArray::from(vec![[1].as_slice(), bytes]));
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
        unpack(&packed, &list).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_0_takes_a_byte_each() {
        let bytes = |integers: &[i64]| {
            let mut bytes = Vec::new();
            pack_list(integers, &mut bytes);
            bytes
        };
        assert!(bytes(&[]).is_empty());
        assert_eq!(bytes(&[1, 0, 0, 14]), [0x01, 0x2E]);
        assert_eq!(bytes(&[15, 0, 16, 300]), [0x0F, 0, 0x1F, 1, 0x0F, 0x9D, 0x02]);
        assert_eq!(bytes(&[0; 3]), [0x20]);
        assert_eq!(bytes(&[[0; 40].as_slice(), &[7]].concat()), [0xF0, 0xF0, 0x87]);
        assert_eq!(bytes(&[-1]).len(), 11);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let damaged = "Parquet argument error: a packed list of integers is damaged";
        assert_eq!(refusal(&[0x0F]), damaged, "a number that is not there");
        assert_eq!(refusal(&[0x0F, 0x80]), damaged, "that does not end");
        assert_eq!(refusal(&[[0x0F].as_slice(), &[0xFF; 9], &[2]].concat()), damaged, "of 65 bits");
        assert_eq!(refusal(&vec![0xF0; INTEGERS_MAX / ZEROS_MAX + 1]), damaged, "more than a list has");
    }

    #[test]
    fn what_is_no_such_list_stays_or_is_refused() {
        let integers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert_eq!(&pack(&integers).unwrap(), &integers);
        let refused = unpack(&integers, &DataType::Int64).unwrap_err().to_string();
        assert_eq!(refused, "Schema error: `Int64` in a file cannot be read as `Int64`");
        let null: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None])]));
        assert_eq!(pack(&null).unwrap_err().to_string(), "Invalid argument error: a list of integers holds a null");
    }

    proptest! {
        /// Whatever bytes there are: they are a list, or refused.
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let packed: ArrayRef = Arc::new(BinaryArray::from(vec![bytes.as_slice()]));
            let list = DataType::new_list(DataType::Int64, true);
            if let Ok(lists) = unpack(&packed, &list) {
                prop_assert_eq!(&unpack(&pack(&lists).unwrap(), &list).unwrap(), &lists);
            }
        }

        #[test]
        fn lists_come_back(
            rows in prop::collection::vec(
                prop::option::of(prop::collection::vec(prop_oneof![9 => Just(0), 3 => 0..20_i64, 1 => 0..1_000_i64, 1 => any::<i64>()], 0..60)), 0..50,
            ),
            from in 0..50_usize,
        ) {
            let all = lists(&rows);
            let from = from.min(all.len());
            check(all.slice(from, all.len() - from));
            // A slice of what is packed too, as a page's rows may be.
            let bytes: ArrayRef = Arc::new(packed(&all).unwrap().slice(from, all.len() - from));
            let lists = unpack(&bytes, all.data_type()).unwrap();
            prop_assert_eq!(lists.as_list::<i32>(), &all.slice(from, all.len() - from));
        }
    }
}
