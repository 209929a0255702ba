//! Rows from any Arrow client into `requests`: brought into the vocabulary's types, and admitted as those of any reporter.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, Int64Array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use tollgate_api::v1;
use tollgate_attributes::{ATTRIBUTES, Kind, attribute};
use tollgate_engine::{Engine, Identity};
use tonic::Status;

/// Rows of one admitted batch, as proxies send them.
const BATCH_ROWS: usize = 8_192;
/// What the names begin with that these rows are reported under.
const REPORTER: &str = "flight";

/// Takes in all rows and returns their number. An error says how many were kept before it.
pub(super) async fn rows(
    engine: &Engine,
    identity: &Identity,
    table: &str,
    mut batches: BoxStream<'static, Result<RecordBatch, Status>>,
) -> Result<i64, Status> {
    if table != "requests" {
        return Err(Status::not_found(format!("rows are taken into `requests` only, not into `{table}`")));
    }
    // Under the own name, which is what policies on data permit; each stream has a name of its own beside it.
    engine.may_report(identity, identity.name()).map_err(|error| Status::permission_denied(error.to_string()))?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    // Beside the proxies' names, so that no client of Arrow can take the place of one.
    let reporter = match identity.is_anonymous() {
        true => format!("{REPORTER}-{epoch}"),
        false => format!("{REPORTER}-{}-{epoch}", identity.name()),
    };
    let hello = v1::ReportHello { reporter, epoch, agent: "arrow-flight".to_owned() };
    let session = engine.report(hello).map_err(|error| Status::unavailable(error.to_string()))?;
    let (mut kept, mut sequence) = (0, 0);
    while let Some(batch) = batches.try_next().await? {
        let batch = convert(&batch).map_err(|error| refused(kept, &error))?;
        for start in (0..batch.num_rows()).step_by(BATCH_ROWS) {
            let slice = batch.slice(start, BATCH_ROWS.min(batch.num_rows() - start));
            let arrow_ipc = super::stream(&slice).map_err(|error| refused(kept, &error.to_string()))?;
            sequence += 1;
            let answer = session.admit(v1::Batch { sequence, arrow_ipc: arrow_ipc.into() }).await;
            if let Some(rejection) = answer.rejections.first() {
                return Err(refused(kept, &rejection.message));
            }
            if answer.acknowledged_sequence < sequence {
                return Err(Status::unavailable("the engine is shutting down"));
            }
            kept += i64::try_from(slice.num_rows()).unwrap_or(0);
        }
    }
    Ok(kept)
}

/// Columns by their names; texts become dictionaries, and times UTC in microseconds.
fn convert(batch: &RecordBatch) -> Result<RecordBatch, String> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let (mut fields, mut columns): (Vec<_>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        // What is unknown goes on as it is: admission says so, and what may have been meant.
        let Some(attribute) = attribute(field.name()) else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
            continue;
        };
        let to = attribute.kind.data_type();
        let cast = cast_with_options(column, &to, &options);
        columns.push(cast.map_err(|error| format!("column `{}`: {error}", field.name()))?);
        fields.push(Arc::new(Field::new(field.name(), to, true)));
    }
    for attribute in ATTRIBUTES.iter().filter(|attribute| attribute.kind == Kind::Int) {
        if !fields.iter().any(|field| field.name() == attribute.name) {
            // A row stands for itself, and what was not measured is 0, as it is for proxies.
            let value = i64::from(attribute.name == "weight");
            fields.push(Arc::new(Field::new(attribute.name, attribute.kind.data_type(), true)));
            columns.push(Arc::new(Int64Array::from(vec![value; batch.num_rows()])));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| error.to_string())
}

fn refused(kept: i64, why: &str) -> Status {
    Status::invalid_argument(format!("refused after {kept} rows: {why}"))
}
