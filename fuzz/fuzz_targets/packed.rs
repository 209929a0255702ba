//! A packed list of integers, as a damaged file may have it: a list that comes back as it was, or refused; never a panic.
#![no_main]

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray};
use arrow::datatypes::DataType;
use libfuzzer_sys::fuzz_target;
use tollgate_store::{pack, unpack};

fuzz_target!(|bytes: &[u8]| {
    let packed: ArrayRef = Arc::new(BinaryArray::from(vec![bytes]));
    let list = DataType::new_list(DataType::Int64, true);
    if let Ok(lists) = unpack(&packed, &list) {
        let again = pack(&lists).expect("a list that was read can be written");
        assert_eq!(unpack(&again, &list).expect("what was written can be read").as_ref(), lists.as_ref());
    }
});
