//! How rows travel: one record batch as a complete Arrow IPC stream.

use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::record_batch::RecordBatch;

/// Schema, dictionaries and the batch, buffers compressed with LZ4. Every stream stands alone, so that a batch can be dropped or
/// sent again without the ones around it.
///
/// # Errors
/// Arrow's own, for a batch that cannot be a message.
pub fn encode(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::with_capacity(16 << 10), &batch.schema(), options)?;
    writer.write(batch)?;
    writer.into_inner()
}

#[cfg(test)]
mod tests {
    use arrow::ipc::reader::StreamReader;

    use super::*;
    use crate::{BatchBuilder, BatchLimits, Row};

    #[test]
    fn a_batch_comes_back_from_its_own_stream() {
        let mut builder = BatchBuilder::new(BatchLimits::default());
        for index in 0..100 {
            let _ = builder.push(&Row { time: index, source: "shop/storefront", ..Row::default() });
        }
        let batch = builder.finish().unwrap();
        let encoded = encode(&batch).unwrap();
        let read: Result<Vec<_>, _> = StreamReader::try_new(&*encoded, None).unwrap().collect();
        assert_eq!(read.unwrap(), [batch]);
    }
}
