//! `COPY … TO STDOUT`: the rows of a query as text, CSV or PostgreSQL's binary format, which ADBC reads.

use std::sync::Arc;

use bytes::Bytes;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{
    CopyCsvOptions, CopyEncoder, CopyResponse, CopyTextOptions, FieldInfo,
};
use datafusion_postgres::pgwire::error::PgWireResult;
use datafusion_postgres::pgwire::messages::copy::CopyData;
use futures::{StreamExt as _, stream};

use super::error::error;
use super::session::Batches;
use super::statement::CopyFormat;
use super::types::Columns;

pub(super) fn rows(columns: Columns, format: &CopyFormat, batches: Batches) -> PgWireResult<CopyResponse> {
    let is_binary = *format == CopyFormat::Binary;
    let wire = if is_binary { Format::UnifiedBinary } else { Format::UnifiedText };
    let infos = Arc::new(columns.describe(&wire, &Arc::default())?);
    let mut encoder = encoder(format, &infos);
    let head = head(format, &infos);
    let count = columns.len();
    let rows = batches.flat_map(move |batch| stream::iter(encode(&columns, &mut encoder, &infos, batch)));
    Ok(CopyResponse::new(i8::from(is_binary), count, stream::iter(head.map(Ok)).chain(rows)))
}

fn encoder(format: &CopyFormat, infos: &Arc<Vec<FieldInfo>>) -> CopyEncoder {
    match format {
        CopyFormat::Text => CopyEncoder::new_text(Arc::clone(infos), CopyTextOptions::default()),
        CopyFormat::Csv { .. } => CopyEncoder::new_csv(Arc::clone(infos), CopyCsvOptions::default()),
        CopyFormat::Binary => CopyEncoder::new_binary(Arc::clone(infos)),
    }
}

/// The line of names that CSV may begin with.
fn head(format: &CopyFormat, infos: &[FieldInfo]) -> Option<CopyData> {
    let CopyFormat::Csv { has_header: true } = format else { return None };
    let quoted = |info: &FieldInfo| match info.name().contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", info.name().replace('"', "\"\"")),
        false => info.name().to_owned(),
    };
    let names: Vec<_> = infos.iter().map(quoted).collect();
    Some(CopyData::new(Bytes::from(format!("{}\n", names.join(",")))))
}

fn encode(
    columns: &Columns,
    encoder: &mut CopyEncoder,
    infos: &[FieldInfo],
    batch: PgWireResult<arrow::record_batch::RecordBatch>,
) -> Vec<PgWireResult<CopyData>> {
    let converted = batch.and_then(|batch| {
        let arrays = columns.convert(&batch).map_err(|wrong| error("22003", wrong.to_string()))?;
        Ok((arrays, batch.num_rows()))
    });
    match converted {
        Err(error) => vec![Err(error)],
        Ok((arrays, rows)) => {
            let one = |row| columns.encode(encoder, &arrays, row, infos).map(|()| encoder.take_copy());
            (0..rows).map(one).collect()
        }
    }
}
