//! `tollgate sql`: one query, or a shell with history and completion.

mod shell;

use std::io::{self, Write as _};

use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;

use crate::cli::SqlArgs;
use crate::client;
use crate::output::{self, Format};

/// Runs the command.
pub(crate) fn run(args: &SqlArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &args.query {
        Some(query) => runtime.block_on(print(&args.engine.engine, query, args.output)),
        None => shell::run(&runtime, &args.engine.engine, args.output),
    }
}

/// Asks the engine and prints the answer.
async fn print(engine: &str, query: &str, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Table => output::table(&rows(engine, query).await?),
        Format::Json => {
            let json = client::sql(engine, query, "application/json").await?;
            Ok(writeln!(io::stdout(), "{}", String::from_utf8_lossy(&json).trim_end())?)
        }
        Format::Csv => Ok(io::stdout().write_all(&client::sql(engine, query, "text/csv").await?)?),
    }
}

/// Asks the engine for Arrow batches. There is always at least one, which carries the schema.
pub(crate) async fn rows(engine: &str, query: &str) -> anyhow::Result<Vec<RecordBatch>> {
    let bytes = client::sql(engine, query, "application/vnd.apache.arrow.stream").await?;
    let reader = StreamReader::try_new(bytes.as_ref(), None)?;
    let schema = reader.schema();
    let mut batches = reader.collect::<Result<Vec<_>, _>>()?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(batches)
}
