//! Arrow IPC from reporters: never a panic, never more memory than the limits allow.
#![no_main]
#![allow(dead_code, reason = "the decoder is taken over as it is, without the engine that uses all of it")]

#[path = "../../engine/src/admission.rs"]
mod admission;
#[path = "../../engine/src/suggest.rs"]
mod suggest;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = admission::DecodeLimits { message_bytes_max: 1 << 20, rows_max: 4_096, decoded_bytes_max: 4 << 20 };
    let arrival = admission::Arrival::at("fuzz", 1_700_000_000_000_000);
    let _ = admission::admit(bytes, &limits, arrival);
});
