//! Arrow IPC from reporters: never a panic, never more memory than the limits allow. Half of the inputs are bytes as they come, half
//! are edits of a good message, which get past its first checks.
#![no_main]
#![allow(
    dead_code,
    unused_imports,
    reason = "the decoder is taken over as it is, without the engine that uses all of it"
)]

#[path = "../../engine/src"]
mod engine {
    pub(crate) mod admission;
    pub(crate) mod suggest;
}

use std::sync::LazyLock;

use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use engine::{admission, suggest};
use libfuzzer_sys::fuzz_target;
use tollgate_attributes::{BatchBuilder, BatchLimits, Row};

const NOW_US: i64 = 1_700_000_000_000_000;

static PLAIN: LazyLock<Vec<u8>> = LazyLock::new(|| message(None));
static LZ4: LazyLock<Vec<u8>> = LazyLock::new(|| message(Some(CompressionType::LZ4_FRAME)));

fn message(compression: Option<CompressionType>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchLimits { rows_max: 8, bytes_max: usize::MAX });
    let policies = ["a".into()];
    for n in 0..3 {
        let _ = builder.push(&Row {
            time: NOW_US,
            reporter: "fuzz",
            direction: "inbound",
            source: "shop/a",
            destination: "shop/b",
            duration_us: n,
            decision: "allow",
            policies: &policies,
            weight: 1,
            ..Row::default()
        });
    }
    let batch = builder.finish().expect("rows");
    let options = IpcWriteOptions::default().try_with_compression(compression).expect("a codec");
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).expect("a writer");
    writer.write(&batch).expect("a batch");
    writer.into_inner().expect("bytes")
}

fuzz_target!(|input: (u8, Vec<(u16, u8)>, &[u8])| {
    let (kind, edits, raw) = input;
    let edited = |good: &[u8]| {
        let mut bytes = good.to_vec();
        for (place, byte) in &edits {
            let place = usize::from(*place) % bytes.len();
            bytes[place] = *byte;
        }
        bytes
    };
    let bytes = match kind % 4 {
        0 => edited(&PLAIN),
        1 => edited(&LZ4),
        _ => raw.to_vec(),
    };
    let limits = admission::DecodeLimits { message_bytes_max: 1 << 20, rows_max: 4_096, decoded_bytes_max: 4 << 20 };
    let admitted = admission::admit(&bytes, &limits, admission::Arrival::at("fuzz", NOW_US));
    assert!(edits.len() + usize::from(kind % 4 > 1) > 0 || admitted.is_ok(), "the good message is good: {admitted:?}");
});
