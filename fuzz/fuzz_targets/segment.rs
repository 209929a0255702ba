//! A segment of the log, as it may lie on a disk after anything: records or faults, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((_, steps)) = tollgate_store::read_segment(bytes) {
        let read = steps.count();
        assert!(read <= bytes.len() + 1, "{read} steps of {} bytes", bytes.len());
    }
});
